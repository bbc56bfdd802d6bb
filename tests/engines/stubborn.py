"""A Python program that does not want to end: it ignores what asks it to, and so do its children in sessions of their own."""

STUBBORN = """
import os, signal, time
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
print("up", flush=True)
time.sleep(1000)
"""
