// What follows an opcode, for each of the one-byte and of the two-byte ones (Intel SDM volume 2, appendix A, 64-bit
// mode).  scripts/pack.py reads these lines, too.  An opcode that the kernel doesn't use may be wrong here: what is
// packed then packs worse.
//
//   p prefix    r REX    e escape to the two-byte opcodes    . nothing
//   b 8 bits    w 16 bits    z 32 bits, or 16 behind prefix 66    v the same, or 64 with REX.W
//   j short jump    l near jump    c call
//   M ModRM    B ModRM and b    Z ModRM and z    T, U ModRM and b, z if its register field is 0 or 1
static const char opcodes[2][16][17] = {
	{
		"MMMMbz..MMMMbz.e", // 00
		"MMMMbz..MMMMbz..", // 10
		"MMMMbzp.MMMMbzp.", // 20
		"MMMMbzp.MMMMbzp.", // 30
		"rrrrrrrrrrrrrrrr", // 40
		"................", // 50
		"...MppppzZbB....", // 60
		"jjjjjjjjjjjjjjjj", // 70
		"BZBBMMMMMMMMMMMM", // 80
		"................", // 90
		"........bz......", // A0
		"bbbbbbbbvvvvvvvv", // B0
		"BBw...BZ..w..b..", // C0
		"MMMM....MMMMMMMM", // D0
		"jjjjbbbbcl.j....", // E0
		"p.pp..TU......MM", // F0
	},
	{
		"MMMM.........M..", // 0F 00
		"MMMMMMMMMMMMMMMM", // 0F 10
		"MMMM....MMMMMMMM", // 0F 20
		"................", // 0F 30
		"MMMMMMMMMMMMMMMM", // 0F 40
		"MMMMMMMMMMMMMMMM", // 0F 50
		"MMMMMMMMMMMMMMMM", // 0F 60
		"BBBBMMM.MMMMMMMM", // 0F 70
		"llllllllllllllll", // 0F 80
		"MMMMMMMMMMMMMMMM", // 0F 90
		"...MBM.....MBMMM", // 0F A0
		"MMMMMMMMMMBMMMMM", // 0F B0
		"MMBMBBBM........", // 0F C0
		"MMMMMMMMMMMMMMMM", // 0F D0
		"MMMMMMMMMMMMMMMM", // 0F E0
		"MMMMMMMMMMMMMMMM", // 0F F0
	},
};
