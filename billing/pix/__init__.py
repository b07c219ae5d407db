"""PIX, by the Banco Central's API Pix 2.9.0: we ask the bank for a charge, it is paid, the bank tells, we ask and credit.

`charges` is the parent (open_charge, confirm_charge, confirm_notice), `refunds` sends money back, `sweep` finds what nobody
told, `psp` speaks to the bank, `brcode` is the code and its picture, `webhook` the bank's door.
"""
