#!/usr/bin/env python3
"""Plays `tobiko-facade` from a script, for what the real one never does: channels that break, odd orders.

SCRIPTED_EXECUTABLE names a JSON file: {"definitions": {}, "tick": {}, "mirror": [step...], "sync": [step...]}.
Steps: {"send": message}, {"raw": text}, {"sleep": seconds}, {"wait_for": file}, {"stderr": text},
{"stdout": text}, {"stubborn": true} (ignore SIGINT), {"exit": code}. Under `definitions` and `tick`: an
object to print, or {"error": text, "exit": code, "sleep": seconds}.
Each call is noted in the file with the suffix `.calls`.
"""

# an executable prints
import base64
import json
import os
import signal
import sys
import time
import zlib


def main() -> int:
    path = os.environ["SCRIPTED_EXECUTABLE"]
    with open(path) as file:
        script = json.load(file)
    command = sys.argv[1]
    with open(path + ".calls", "a") as calls:
        calls.write(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}) + "\n")
    steps = script[command]
    if command in ("definitions", "tick"):
        time.sleep(steps.get("sleep", 0))
        if "error" in steps:
            print(f"error: {steps['error']}", file=sys.stderr)
            return steps["exit"]
        print(json.dumps(steps))
        return 0
    params = json.loads(zlib.decompress(base64.b64decode(os.environ["DAGSTER_PIPES_MESSAGES"])))
    assert params == {"stdio": "stdout"}, params
    with os.fdopen(os.dup(1), "wb", buffering=0) as channel:
        for step in steps:
            if "send" in step:
                channel.write(json.dumps({"__dagster_pipes_version": "0.1", **step["send"]}).encode() + b"\n")
            elif "raw" in step:
                channel.write(step["raw"].encode())
            elif "sleep" in step:
                time.sleep(step["sleep"])
            elif "wait_for" in step:
                while not os.path.exists(step["wait_for"]):
                    time.sleep(0.02)
            elif "stderr" in step:
                print(step["stderr"], file=sys.stderr, flush=True)
            elif "stdout" in step:
                print(step["stdout"], flush=True)
            elif "stubborn" in step:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            elif "exit" in step:
                return step["exit"]
    return 0


if __name__ == "__main__":
    sys.exit(main())
