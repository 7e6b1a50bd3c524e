"""Text of messages in whatever character set it says it is in, or says wrongly.

Only the character sets loaded here are ever used: a message can't name a codec that unpacks, escapes or has
to be imported, which a process locked to its descriptors can't do. Nothing here raises on any bytes.
"""

import codecs
from collections.abc import Mapping
from encodings.aliases import aliases

# Left: what Python knows. A label that stands for less than its senders mean is read as what they mean, as
# browsers do (WHATWG Encoding section 4.2): latin-1 is windows-1252, gb2312 is gb18030 …
_CODECS = (
    *("utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_7", "koi8_r", "koi8_u", "mac_roman", "tis_620"),
    *(f"cp{number}" for number in range(1250, 1259)),
    *("cp437", "cp850", "cp852", "cp858", "cp866", "cp874", "cp932", "cp949", "cp950"),
    *(f"iso8859_{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)),
    *("gb18030", "hz", "big5hkscs", "euc_jp", "iso2022_jp", "iso2022_jp_2", "iso2022_kr", "johab"),
)
_MEANT = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso2022_jp_1": "iso2022_jp_2",
    "utf_8_sig": "utf_8",
}
_OTHER_LABELS = {
    "iso_8859_8_i": "iso8859_8",
    "x_sjis": "cp932",
    "shift_jis_2004": "cp932",
    "ks_c_5601_1987": "cp949",
    "ks_c_5601": "cp949",
    "x_gbk": "gb18030",
    "x_euc_jp": "euc_jp",
    "x_mac_roman": "mac_roman",
    "unicode_1_1_utf_7": "utf_7",
    "unicode_1_1_utf_8": "utf_8",
    "cp65001": "utf_8",
    "windows_874": "cp874",
    "windows_31j": "cp932",
    "ansi_x3_4_1968": "utf_8",
}


def decoded(data: bytes, charset: str = "") -> str:
    """The text. Bytes that have no meaning in it become U+FFFD.

    Where the label is missing, unknown or plainly wrong it is UTF-8 if the bytes are, else windows-1252.
    """
    codec = _TABLE.get(_normal(charset))
    if codec is None or codec is _UTF_8:
        return _guessed(data)
    try:
        return codec.decode(data, "replace")[0]
    except (UnicodeError, ValueError):  # UTF-16 and the stateful ones give up on some bytes all the same
        return _guessed(data)


def _guessed(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # One bad byte in a long text in UTF-8 is damage; one good sequence in latin-1 is a coincidence.
        sound = data[: error.start]
        if len(sound) > 200 and not sound.isascii():
            return data.decode("utf-8", "replace")
        return data.decode("cp1252", "replace")


def _normal(label: str) -> str:
    return label.strip().strip("\"'").lower().replace("-", "_").replace(" ", "_").replace(":", "_")[:40]


def _table() -> Mapping[str, codecs.CodecInfo]:
    loaded = {name: codecs.lookup(name) for name in _CODECS}
    known = {**{name: name for name in loaded}, **aliases, **{name: name for name in _MEANT}, **_OTHER_LABELS}
    labels = {label: _MEANT.get(name, name) for label, name in known.items()}
    return {label: loaded[name] for label, name in labels.items() if name in loaded}


_TABLE = _table()
_UTF_8 = _TABLE["utf_8"]
codecs.lookup("utf-8-sig")
