# What a developer types; `make` alone lists it. Nothing is needed before but Python 3.11, make and git: as root
# on Debian, the targets install the packages that are missing; anywhere else one message names them.
#
#   make PYTHON=/usr/bin/python3.12 ...   another interpreter for .venv (after `make clean`)
#   make test ARGS="-k settle -x"         more words for pytest (also torture, bench)
#   TORTURE_SEED=7 make torture           the same storm again; each file of tests/torture names its other dials

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
CYRUS := $(VENV)/cyrus
INSTALLED := $(VENV)/.installed
PYTHON ?=
ARGS ?=

.PHONY: help demo test coverage lint fuzz torture soak bench clean packages-demo packages-test packages-torture

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

demo: packages-demo $(INSTALLED) ## receipts of every kind through a local sandbox, in under a minute
	@$(BIN)/ingestd demo

TESTS := -m pytest --ignore=tests/torture --numprocesses=3 --dist=worksteal --no-skips

test: packages-test lint ## everything a change must pass: lint, then the tests
	@$(BIN)/python $(TESTS) $(ARGS)

coverage: packages-test $(INSTALLED) ## the tests again, a third slower, with the branches that none of them took
	@$(BIN)/python $(TESTS) --cov --cov-report=term $(ARGS)

lint: packages-demo $(INSTALLED) ## format, ruff, import floors, mypy --strict
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

fuzz: packages-test $(INSTALLED) ## 20,000 spoiled documents of every format (FUZZ_CASES, FUZZ_SEED)
	@FUZZ_CASES=$(or $(FUZZ_CASES),20000) FUZZ_SEED=$(or $(FUZZ_SEED),0) \
		$(BIN)/python -m pytest tests/fuzz -s $(ARGS)

torture: packages-torture $(INSTALLED) $(CYRUS) ## kills, crash points and power cuts by the hundred; wants root
	@$(BIN)/python -m pytest tests/torture -v -rs --timeout=3600 $(ARGS)

soak: packages-torture $(INSTALLED) ## an hour of steady load and trouble: nothing may grow (SOAK_SECONDS)
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) $(BIN)/python -m pytest tests/torture/test_soak.py -s $(ARGS)

bench: packages-demo $(INSTALLED) ## receipts per second, beside a bare upload loop, as a ratio
	@$(BIN)/python bench/throughput.py $(ARGS)

clean: ## remove .venv and everything that is built or cached
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is brought to its pinned version first, because the one Debian 12 puts into a venv does not know --group.
$(INSTALLED): pyproject.toml constraints.txt | packages-demo
	@echo "Installing ingestd into $(VENV) (once, about a minute)" >&2
	$(find_python)
	if ! $(BIN)/python -c 'import pip' 2>/dev/null; then "$$python" -m venv --clear $(VENV); fi
	pip=($(BIN)/python -m pip --disable-pip-version-check --quiet)
	"$${pip[@]}" install --upgrade --constraint constraints.txt pip setuptools
	PYTHONWARNINGS=ignore::UserWarning "$${pip[@]}" install \
		--constraint constraints.txt --build-constraint constraints.txt --editable '.[html]' --group dev
	touch $@

# To install Debian's Cyrus would remove Debian's Dovecot, and the other way round: it is only unpacked. Where that
# can't be done the tests of the second mail server are skipped, and say so.
$(CYRUS): | $(INSTALLED)
	@download="$$(mktemp -d)"
	trap 'rm -rf "$$download"' EXIT
	if ! (cd "$$download" && apt-get download cyrus-common cyrus-imapd &>log); then
		echo "No Cyrus can be had: the tests of a second mail server will be skipped" >&2
		exit 0
	fi
	for package in "$$download"/*.deb; do dpkg -x "$$package" "$$download/unpacked"; done
	mv "$$download/unpacked" $@

# --- packages of the system ---------------------------------------------------------------------------------

packages-demo:
	@$(find_python)
	missing=()
	$(need_python)
	$(install_missing)

# The ledger is tested on a real PostgreSQL too, systemd's own tools judge the unit file, the kernel's headers the
# numbers of the system call filter, and two programs that share no code with ours the PDFs that are made. Mail comes
# from a real Dovecot; what WeasyPrint draws with is Pango, and a font.
packages-test:
	@$(find_python)
	missing=()
	$(need_python)
	$(need_postgresql)
	type -P systemd-analyze systemd-sysusers >/dev/null || missing+=(systemd)
	[[ -e /usr/include/asm-generic/unistd.h ]] || missing+=(linux-libc-dev)
	type -P qpdf >/dev/null || missing+=(qpdf)
	type -P pdftoppm pdftotext pdfinfo >/dev/null || missing+=(poppler-utils)
	[[ -x /usr/sbin/dovecot ]] || missing+=(dovecot-imapd)
	[[ -x /usr/lib/dovecot/lmtp ]] || missing+=(dovecot-lmtpd)
	type -P prlimit setpriv >/dev/null || missing+=(util-linux)
	$(need_pango)
	$(install_missing)

packages-torture:
	@$(find_python)
	missing=()
	$(need_python)
	$(need_postgresql)
	type -P systemd-analyze systemd-sysusers >/dev/null || missing+=(systemd)
	PATH="$$PATH:/usr/sbin:/sbin"
	type -P mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
	type -P losetup mount >/dev/null || missing+=(mount)
	[[ -x /usr/sbin/dovecot ]] || missing+=(dovecot-imapd)
	[[ -x /usr/lib/dovecot/lmtp ]] || missing+=(dovecot-lmtpd)
	type -P setpriv unshare >/dev/null || missing+=(util-linux)
	type -P pdftotext >/dev/null || missing+=(poppler-utils)
	$(need_pango)
	$(need_libraries_of_cyrus)
	$(install_missing)

# python: the first interpreter that is new enough and can make a venv (Debian packs ensurepip separately).
define find_python
python=
for candidate in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 /usr/bin/python3); do
	if "$$candidate" -c 'import ensurepip, sqlite3, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		python="$$candidate"
		break
	fi
done
endef

define need_python
if [[ -z "$$python" ]] && ! $(BIN)/python -c 'import pip' 2>/dev/null; then missing+=(python3 python3-venv); fi
endef

define need_postgresql
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && ! command -v initdb >/dev/null; then
	missing+=(postgresql)
fi
endef

define need_pango
ldconfig=$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p)
for library in libpango-1.0.so.0:libpango-1.0-0 libpangoft2-1.0.so.0:libpangoft2-1.0-0 \
	libharfbuzz-subset.so.0:libharfbuzz-subset0; do
	grep -qF "$${library%%:*}" <<<"$$ldconfig" || missing+=("$${library##*:}")
done
[[ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ]] || missing+=(fonts-dejavu-core)
endef

define need_libraries_of_cyrus
ldconfig=$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p)
for library in libical.so.3:libical3 libicuuc.so.72:libicu72 libjansson.so.4:libjansson4 libkrb5.so.3:libkrb5-3 \
	libldap-2.5.so.0:libldap-2.5-0 libpcre.so.3:libpcre3 libpq.so.5:libpq5 libsasl2.so.2:libsasl2-2 \
	libwrap.so.0:libwrap0 libxapian.so.30:libxapian30 libxml2.so.2:libxml2; do
	grep -qF "$${library%%:*}" <<<"$$ldconfig" || missing+=("$${library##*:}")
done
compgen -G '/usr/lib/*/sasl2/libplain.so*' >/dev/null || missing+=(libsasl2-modules)
endef

# A failing `apt-get update` is not the end: a foreign source may be down while Debian's own answer.
# policy-rc.d is Debian's way to keep an installation from starting services (here: a PostgreSQL nobody asked for).
define install_missing
if (( $${#missing[@]} )); then
	if (( EUID )) || ! command -v apt-get >/dev/null; then
		echo "Missing: $${missing[*]} (Debian's names). Install: sudo apt-get install $${missing[*]}" >&2
		exit 1
	fi
	echo "Installing $${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	log="$$(mktemp)" policy=
	trap 'rm -f "$$log" $$policy' EXIT
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then
		policy=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
	fi
	apt-get update -o Acquire::Retries=3 &>"$$log" || true
	if ! apt-get install -y --no-install-recommends -o Acquire::Retries=3 "$${missing[@]}" &>>"$$log"; then
		cat "$$log" >&2
		exit 1
	fi
fi
endef
