#!/usr/bin/python3
"""choose.py PROGRAM PAYLOAD DEFAULT OUT KIND: what the image holds.

The first two are empty files unless the caller of make named one. OUT gets the content, KIND the word "program" or
"payload".
"""
import sys
from pathlib import Path

program, payload, default, out, kind = map(Path, sys.argv[1:])
source = next((path for path in (program, payload) if path.stat().st_size), default)
out.write_bytes(source.read_bytes())
kind.write_text("payload" if source == payload else "program")
