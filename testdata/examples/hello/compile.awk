# Compiles a text into a Linux program that prints it: a static ELF executable of 64 bits, without any library.
#
#   printf "$(awk -v machine="$(uname -m)" -f compile.awk TEXT)" > PROGRAM
#
# The output is a format string for printf, all octal escapes, because not every awk can write zero bytes.

BEGIN {
    for (code = 1; code < 256; code++) code_of[sprintf("%c", code)] = code
    address = 4194304                  # where programs are loaded by custom: 0x400000
    headers = 64 + 56                  # the ELF header and one program header
}

{
    for (i = 1; i <= length($0); i++) text[text_size++] = code_of[substr($0, i, 1)]
    text[text_size++] = 10
}

END {
    if (machine == "x86_64") { elf_machine = 62; code_size = 36 }
    else if (machine == "aarch64") { elf_machine = 183; code_size = 40 }
    else { print "no code generator for " machine > "/dev/stderr"; exit 1 }
    text_address = address + headers + code_size
    size = headers + code_size + text_size

    # ELF header: magic, 64 bits, little endian, version 1; an executable file
    bytes("127 69 76 70 2 1 1 0 0 0 0 0 0 0 0 0")
    number(2, 2); number(elf_machine, 2); number(1, 4)
    number(address + headers, 8)       # entry point
    number(64, 8); number(0, 8)        # program headers follow; there are no sections
    number(0, 4)
    number(64, 2); number(56, 2); number(1, 2)
    number(0, 2); number(0, 2); number(0, 2)

    # Program header: load the whole file, readable and executable
    number(1, 4); number(5, 4)
    number(0, 8); number(address, 8); number(address, 8)
    number(size, 8); number(size, 8); number(4096, 8)

    if (machine == "x86_64") x86_64(); else aarch64()
    for (i = 0; i < text_size; i++) number(text[i], 1)
}

function x86_64() {
    bytes("184"); number(1, 4)             # mov eax, 1        write
    bytes("191"); number(1, 4)             # mov edi, 1        to standard output
    bytes("190"); number(text_address, 4)  # mov esi, text
    bytes("186"); number(text_size, 4)     # mov edx, size
    bytes("15 5")                          # syscall
    bytes("184"); number(60, 4)            # mov eax, 60       exit
    bytes("49 255")                        # xor edi, edi      with success
    bytes("15 5")                          # syscall
    bytes("144 144 144 144 144")           # nop: the text begins at a multiple of four
}

function aarch64() {
    move(0, 1)                             # x0 = 1            standard output
    move(1, text_address % 65536)          # x1 = text
    move_high(1, int(text_address / 65536))
    move(2, text_size)                     # x2 = size
    move(8, 64)                            # x8 = 64           write
    number(3556769793, 4)                  # svc #0
    move(0, 0)                             # x0 = 0            success
    move(8, 93)                            # x8 = 93           exit
    number(3556769793, 4)                  # svc #0
    number(3573751839, 4)                  # nop
}

# movz xREGISTER, #value; for values below 65536
function move(register, value) { number(3531603968 + value * 32 + register, 4) }

# movk xREGISTER, #value, lsl #16
function move_high(register, value) { number(4070572032 + value * 32 + register, 4) }

# A number, little endian.
function number(value, size) {
    for (; size > 0; size--) {
        printf "\\%03o", value % 256
        value = int(value / 256)
    }
}

# Bytes, given in decimal.
function bytes(list, parts, count, n) {
    count = split(list, parts, " ")
    for (n = 1; n <= count; n++) number(parts[n], 1)
}
