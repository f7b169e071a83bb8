"""The pure core: what a session is and what it decides. No I/O, no clock, no library beyond the standard one.

Read `session` first: one table, one function. `plan` and `limits` come before a session, `therapy` is what persons
order, `enforce` what readings mean, `outcomes` what became of orders, `sight` losing and regaining the pump; `watch`
compares three volumes, `alarms` keeps the board.
"""
