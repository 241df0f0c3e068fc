"""Schedules: functions that are called at certain times.

What belongs here: expressions (`expression`), what a function's annotations say (`rules`), the decision on each tick
(`step`), and the loop that carries it out (`firing`). What does not: how the calls are made, which is `control.delivery`.
"""
