"""Whether a text is a receipt by what it says: it is no mere note, and it names a total.

Asked only where pictures are shown within the text and nothing is attached. A wrong yes costs little, as the
PDF of the text shows the pictures too; a wrong no would upload a hotel's photo in the place of its bill.
"""

import re
from itertools import islice

LEAST_SIGNS = 250
"""Letters and digits. A note with a signature has fewer, a booking confirmation has many more."""
_BEFORE, _BEHIND = 60, 25
"""Characters around an amount in which the word for a total stands: that many before it, or behind it."""

_MOST_AMOUNTS = 2_000
"""Looked at: an invoice of many pages has fewer."""

# Symbols (Unicode's category Sc that is in use), and codes (ISO 4217) and short forms as receipts write them.
_CURRENCY = (
    r"(?:[$€£¥₹₽₩₺₴₪₫฿₱₦₵₸₼₾￥]"
    r"|(?<![a-z])(?:eur|usd|gbp|chf|jpy|cny|rmb|inr|cad|aud|nzd|sek|nok|dkk|isk|pln|czk|huf|ron|bgn|rsd"
    r"|try|ils|aed|sar|qar|egp|zar|ngn|kes|mad|brl|mxn|ars|clp|cop|pen|sgd|hkd|twd|krw|thb|myr|idr|php"
    r"|vnd|rub|uah|kzt|gel|kr|zł|kč|ft|lei|rs|fr|euros?|dollars?|pounds?|руб|грн|元|円|원)(?![a-z]))"
)
_AMOUNT = re.compile(rf"{_CURRENCY}\.?\s?\d|\d(?:[.,]?[-–—])?\s?{_CURRENCY}", re.IGNORECASE)
"""Where it begins or ends; the rest of its digits does not matter."""
_TOTAL = re.compile(
    r"\b(?:(?:sub)?total(?:e|es|s|t)?|amounts?|sum|price|fare|paid|charged|payment"
    r"|\w{0,20}(?:betrag|preis|summe)|gesamt\w{0,20}|bezahlt"
    r"|montant|prix|payé|importe|importo|precio|prezzo|preço|valor|pagad[oa]|pagat[oa]|pago"
    r"|totaal|bedrag|prijs|betaald|summa|belopp|beløb|beløp|betalt|yhteensä|hinta"
    r"|razem|suma|kwota|zapłacono|celkem|spolu|částka|cena|összesen|végösszeg|fizetett"
    r"|итого|всего|сумма|оплачено|разом|сума|toplam|tutar|σύνολο)\b"
    r"|合計|総額|金額|合计|总计|總計|总额|金额|합계|총액|סה״כ|المجموع|الإجمالي",
    re.IGNORECASE,
)


def names_a_total(text: str) -> bool:
    """`text`: what is to be read, on one line. It is long enough, and an amount stands beside such a word."""
    if sum(map(str.isalnum, text)) < LEAST_SIGNS:
        return False
    return any(
        _TOTAL.search(text, max(0, amount.start() - _BEFORE), amount.end() + _BEHIND)
        for amount in islice(_AMOUNT.finditer(text), _MOST_AMOUNTS)
    )
