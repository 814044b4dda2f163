#!/usr/bin/python3
"""docs.py BUILD: the guides, and the reference of include/ and api/, in BUILD/docs/html; a warning of doxygen is an
error, and so is a function without a comment.
docs.py --filter HEADER, --page GUIDE: as doxygen is to read them.
"""
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"(\s*)//(?: (.*))?$")
TRAILING = re.compile(r"(.*[^\s{])\s+// (.*)$")
HEADING = re.compile(r"---- .* -+$")
FUNCTION = re.compile(r"(?!typedef|_Static_assert)\w[^(]*?(\w+)\(.*[,;)]$")
POINTER = re.compile(r"\t+[\w *]+\(\*\w+\)\(")


def text(comment):
	"""As Markdown that means nothing else to doxygen."""
	return re.sub(r"([@#<>%&])", r"\\\1", comment.replace("\\", "&#92;"))


def header(lines):
	"""A comment before a declaration is its documentation, and that of the functions that follow without a blank line
	or are the same for another width; a comment behind a member, a value or a macro is that one's; the first comment
	is the file's.  Lines keep their numbers."""
	block, used, body, widths = [], True, False, {}
	for line in lines:
		comment = COMMENT.match(line)
		if body:
			body = line != "}"
		elif comment:
			if used:
				block, used = [], False
			content = comment[2] or ""
			example = content.startswith("\t")
			line = f"{comment[1]}/// {content if example else text(content)}"
			if HEADING.match(content) or content.startswith(("clang-format", "NOLINT")):
				block, used, line = [], True, ""
			block.append(line)
		elif line == "#pragma once":
			line, used = "/// @file", True
		elif not line.strip():
			block, used = [], True
		else:
			function = FUNCTION.match(line)
			width = function and re.fullmatch(r"(\w+?)\d+", function[1])
			if width:
				block = widths.setdefault(width[1], block)
			if used and block and (function or POINTER.match(line)):
				line = f"/** {' '.join(part.strip()[4:] for part in block)} */ {line}"
			used, body = True, line == "{"
			trailing = TRAILING.match(line)
			if trailing:
				line = f"{trailing[1]} ///< {text(trailing[2])}"
		yield line


def page(lines):
	"""Doxygen follows links between pages, not to their headings, nor to what is no page."""
	for line in lines:
		line = re.sub(r"\]\(([\w/.-]+\.md)#[\w-]+\)", r"](\1)", line)
		yield re.sub(r"\[([^\]]+)\]\((?!https?:|[\w/.-]+\.md\))[^)]+\)", r"\1", line)


def undocumented(folder):
	"""Functions, and members that point to some, without a word about them."""
	for path in sorted(folder.glob("*.xml")):
		for member in xml.parse(path).iter("memberdef"):
			pointer = (member.findtext("argsstring") or "").startswith(")")
			if member.get("kind") != "function" and not (member.get("kind") == "variable" and pointer):
				continue
			said = [*member.find("briefdescription").itertext(), *member.find("detaileddescription").itertext()]
			if not "".join(said).strip():
				place = member.find("location")
				yield f"{place.get('file')}:{place.get('line')}: {member.findtext('name')}() is not documented"


def main(args):
	if len(args) == 2 and args[0] in ("--filter", "--page"):
		lines = Path(args[1]).read_text().splitlines()
		print("\n".join((header if args[0] == "--filter" else page)(lines)))
		return 0
	if len(args) != 1:
		sys.exit(__doc__)
	folder = Path(args[0]).resolve() / "docs"
	folder.mkdir(parents=True, exist_ok=True)
	version = re.search(r"version: '([\d.]+)'", (ROOT / "meson.build").read_text())[1]
	config = (ROOT / "docs" / "Doxyfile").read_text() + f'OUTPUT_DIRECTORY = "{folder}"\nPROJECT_NUMBER = {version}\n' \
		f'STRIP_FROM_PATH = "{ROOT}"\n'
	done = subprocess.run(["doxygen", "-"], cwd=ROOT, input=config, text=True, check=False)
	missing = list(undocumented(folder / "xml"))
	for line in missing:
		print(line, file=sys.stderr)
	if done.returncode or missing:
		return 1
	print(folder / "html" / "index.html")
	return 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
