#!/usr/bin/python3
"""where BUILD [ADDRESS...]: the function and line of addresses in the kernel.

Without addresses it reads a panic report from standard input and explains every address of the kernel in it.
"""
import re
import subprocess
import sys
from pathlib import Path


def main():
	if len(sys.argv) < 2:
		sys.exit(__doc__)
	elf = Path(sys.argv[1]) / "kernel.elf"
	if not elf.exists():
		sys.exit(f"where: {elf} is not there: build it first")
	words = sys.argv[2:] or re.findall(r"\b[0-9a-f]{6,16}\b", sys.stdin.read())
	kernel = []
	for word in words:
		try:
			address = int(word, 16)
		except ValueError:
			sys.exit(f"where: {word} is not a hexadecimal address")
		if 0x100000 <= address < 0x110000 and address not in kernel:
			kernel.append(address)
	if not kernel:
		sys.exit("where: no address of the kernel's code (100000 to 110000)")
	# A return address lies behind its call: the byte before it belongs to the caller.
	for address in kernel:
		out = subprocess.run(["addr2line", "-fie", elf, hex(address - 1)], capture_output=True, text=True, check=True)
		lines = out.stdout.split()
		places = [f"{lines[i]} ({Path(lines[i + 1]).name})" for i in range(0, len(lines) - 1, 2)]
		print(f"{address:x}  {' in '.join(places)}")


if __name__ == "__main__":
	main()
