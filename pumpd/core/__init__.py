"""The pure core: what a session is and what it decides. No I/O, no clock, no library beyond the standard one.

Read `session` first: one table, one function. `plan` and `limits` come before a session, `therapy` is what persons
order, `enforce` what readings mean and `delivery` whether the plan is given, `outcomes` and `taken` what became of
orders, `sight` losing and regaining the pump; `watch` compares three volumes, `alarms` and `catalogue` are the alarms.
"""
