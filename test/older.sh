#!/bin/sh
# older.sh: a program built for a processor that this one is not ends in one line and status 2, not in an illegal
# instruction. Built for AVX-512, run on an emulated Haswell, which has none. Usage: test/older.sh, from the top.
passed=0 failed=0
check() { if [ "$1" = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "$2"; fi; }

out=.build/skylake-avx512/
make -s ARCH=-march=skylake-avx512 CFLAGS=-O0 O=$out ${out}train || exit 1
qemu-x86_64 -cpu Haswell ./${out}train help >${out}said 2>&1
status=$?
said=$(grep -v '^qemu' ${out}said)              # its own warnings about Haswell
check "$([ $status = 2 ] && echo 1)" "status $status, expected 2"
check "$([ "$(printf '%s\n' "$said" | wc -l)" = 1 ] && echo 1)" "expected one line: $said"
check "$(case $said in *'built for a processor with avx512f'*'which this one lacks'*) echo 1 ;; esac)" "it says: $said"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
