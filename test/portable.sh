#!/bin/sh
# portable.sh: the binary for every x86 takes the right one of its three programs, and all of them give the same bits.
# Run as it is, with all tests, and with few on an emulated Haswell (AVX2, no AVX-512) and an emulated x86-64 without
# either. Statically linked with musl, which has no ifunc. An emulator takes minutes over the mathematics of AVX2,
# which this processor most likely has too: that is tried in a binary that has the program for AVX2 alone.
# Usage: test/portable.sh, from the top.
passed=0 failed=0
check() { if [ "$1" = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "$2"; fi; }

out=.build/portable/
make -s PORTABLE=1 CC=musl-gcc STATIC=1 CFLAGS=-O1 O=$out ${out}train ${out}test/test || exit 1
for cpu in '' Haswell qemu64; do
    run=${cpu:+qemu-x86_64 -cpu $cpu}
    case $cpu in
        Haswell) want='AVX2, 8 floats' tests='stats' ;;
        qemu64) want=' 4 floats' tests='stats' ;;
        *) want='floats' tests='' ;;
    esac
    said=$($run ./${out}train help 2>/dev/null | tail -n 1)
    check "$(case $said in *"$want a multiply-add") echo 1 ;; esac)" "${cpu:-this processor}: it says: $said"
    # shellcheck disable=SC2086
    QUICK=1 TRAIN="$run ./${out}train" $run ./${out}test/test $tests >${out}said 2>&1
    check "$([ $? = 0 ] && echo 1)" "${cpu:-this processor}: $(tail -n 3 ${out}said)"
    rm -f "${out}model$cpu" "${out}model$cpu.best"
    $run ./${out}train run --model d1 --heads 4 --vocab 300 --context 40 --batch 2 --steps 3 --text README.md \
        --sparsity 0.5 --val-tokens 80 --quiet --out "${out}model$cpu" >${out}said 2>&1
    check "$(cmp -s "${out}model" "${out}model$cpu" && echo 1)" "${cpu:-this processor}: another model: $(cat ${out}said)"
done
run=$(grep -qw avx2 /proc/cpuinfo || echo qemu-x86_64 -cpu Haswell)
for program in train test/test; do
    musl-gcc -O1 -march=x86-64 -Dprogram=program_avx2 -Dprogram_built_for=program_avx2_built_for \
        -o $out$program-avx2 data/base/start.c $out$program-avx2.o -pthread -static -lm || exit 1
done
# shellcheck disable=SC2086
QUICK=1 TRAIN="$run ./${out}train-avx2" $run ./${out}test/test-avx2 sparse gpt machine train >${out}said 2>&1
check "$([ $? = 0 ] && echo 1)" "AVX2: $(tail -n 3 ${out}said)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
