"""The numbers in SAP Concur's token errors, and what a person does about each (Authentication v2, errors).

They come with HTTP 400 mostly, and mean more than it: 134 passes by itself, 16 names another data centre.
"""

from collections.abc import Mapping
from types import MappingProxyType

MOVED = 16
MAINTENANCE = 134

_DEFECT = (
    "the server did not get {what}; something on the way changes requests, or this is a defect of ingestd: "
    "report it with this message"
)

CODES: Mapping[int, str] = MappingProxyType(
    {
        5: "the credentials are wrong; check client_id and client_secret_file, and of a company its UUID and "
        "the request token, which lives for 24 hours; then run: {login}",
        MOVED: "the login belongs to another data centre; write the base URI of that one: url",
        20: "the logon is denied, mostly because the company does not allow the address of this machine; ask "
        "the Concur administrator",
        53: "the company has not enabled this application; ask the Concur administrator to connect it",
        54: "the application is not given this scope; check scope, and what the application may ask for",
        59: "the application is disabled; ask SAP Concur, or who registered it",
        60: "this grant is not for this application; check grant, and then run: {login}",
        61: "there is no such application here; check client_id, and url: it must be the data centre where "
        "the application is registered",
        62: _DEFECT.format(what="the client_id"),
        63: "the server did not get the client's secret; check client_secret_file",
        64: "client_id and the client's secret do not fit together; check client_id and client_secret_file",
        65: _DEFECT.format(what="the grant_type"),
        106: _DEFECT.format(what="the refresh token"),
        107: "the application may not renew its tokens; have refresh allowed where it is registered",
        108: "the login has expired or was revoked; log in again, run: {login}",
        115: "the application is not let in; check client_id and client_secret_file",
        123: "the user or the company is disabled; ask the Concur administrator",
        135: _DEFECT.format(what="a form it understands"),
        136: "the request token was issued for another application; get one for {client}, and then run: "
        "{login}",
    }
)
"""Each as the rest of a sentence; {login} is the command that logs in, {client} the client_id."""
