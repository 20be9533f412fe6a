#!/usr/bin/env bash
# test/lost.sh: nothing is lost at any failing call, by kill -9, or where memory ends.
#
#     test/lost.sh                  a sample of all of it, in about a minute
#     test/lost.sh all              every call, every system call, every limit of memory: half an hour at most
#     test/lost.sh calls run        one part (calls, kill, memory) of one command, whole
#     test/lost.sh leaks            what every command still holds when it has ended well
#
# calls     the n-th call of a kind fails (lost/calls.c), once or from then on. The program ends in the right
#           bytes and status 0; or in one line and status 2, leaves no temporary file and no lock, and the same
#           command, or --resume, then goes on to the right bytes.
# kill      SIGKILL before the n-th system call (lost/stop.c): the same command, or --resume, goes on to the
#           right bytes, and run and compare take away what was left. SIGTERM: nothing is left either.
# memory    the address space ends at every size from the least in which the program starts to plenty, in steps of
#           64 KiB, and of 4 KiB wherever the outcome changes: as calls.
# leaks     the program, built with the compiler's leak detector, has given back all memory (what is refused in the
#           middle ends the process, and gives back nothing). Without ptrace it cannot be told.
#
# The right bytes are those of a run that nothing disturbed: every file, and what is printed. Where a stopped try
# has left the same files as one before it, the second run is left out. It refuses bench, which measures time, and
# the clock here is none (lost/calls.c). TRAIN names the program. Needs bash, a C compiler and glibc; without ptrace,
# kill comes at random moments.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
train=$(realpath "${TRAIN:-./train}") || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C
${CC:-cc} -O1 -shared -fPIC -o "$tmp/calls.so" test/lost/calls.c -ldl || exit 1
${CC:-cc} -O1 -o "$tmp/stop" test/lost/stop.c || exit 1

passed=0 failed=0 stopped=0 whole=0
part=all                                # the part and command at hand, for messages

# ---- the commands ----------------------------------------------------------------------------------------

tiny='--threads 1 --vocab 260 --layers 1 --heads 1 --width 16 --context 8 --batch 2 --text text'
small='--layers 1 --width 16 --vocab 20 --context 8'
kernel='--schedule kernel'
dataflow='--schedule dataflow --sram 32768'
declare -A line=(
    [run]="run $tiny $kernel --steps 4 --every 2 --sparsity 0.5 --update rigl --mask-every 2 --out m --log log --json json"
    [dataflow]="run $tiny $dataflow --steps 2 --every 1 --quiet --out m --trace trace"
    [threads]="run ${tiny/--threads 1/--threads 3} --steps 2 --every 1 --quiet --out m"
    [init]="run --threads 1 --init theirs --text text --batch 2 --steps 1 --sparsity 0.5 --mask magnitude --quiet --out m"
    [taken]="run $tiny --steps 1 --quiet --out half"
    [resume]="run --resume half --text text --threads 1 --quiet --out m --json json"
    [compare]="compare $tiny $kernel --steps 2 --every 1 --arms dense,sparse --items 2 --quiet --out d --json json
        --report page"
    [streams]="compare $tiny $dataflow --steps 1 --arms dense --items 1 --out d"
    [again]="compare $tiny $kernel --steps 1 --arms dense,sparse --seeds 2 --items 1 --out begun"
    [dump]="dump out $small --steps 2 --sparsity 0.5"
    [verify]="verify dump --json json"
    [hf]="convert model hf"
    [gguf]="convert model out.gguf --type f16"
    [native]="convert in.gguf out.ckpt"
    [theirs]="convert theirs out.bin"
    [tokenize]="tokenize --vocab 300 --save v --shard s"
    [ids]="tokenize --vocab 300 --text text"
    [decode]="tokenize --decode --vocab vocabulary"
    [eval]="eval model --threads 1 --text text --items 2 --json json"
    [two]="eval model theirs --threads 1 --text text --items 1"
    [choices]="eval model --threads 1 --choices choices --json json --csv csv"
    [simulate]="simulate --layers 1 --width 64 --context 64 --batch 2 --vocab 500 --json json --csv csv --trace trace"
    [sample]="sample model --threads 2 --prompt The --tokens 20"
    [help]="help run --all"
)
declare -A input=([decode]=ids)         # what they read from the standard input, if not the text
declare -A refused=([taken]=2)          # the right status, if not 0
declare -A right=()                     # of those that were tried
commands='compare run dataflow threads init taken resume streams again dump verify hf gguf native theirs tokenize ids decode
    eval two choices simulate sample help'
writers='compare run dataflow init resume streams again dump verify hf gguf native theirs tokenize simulate'
kinds='memory memory+ open open+ stat stat+ read write write+ short short+ sync close rename rename+ folder map thread'

# the files that they read
inputs() {
    mkdir "$tmp/in" && head -c 1000 README.md >"$tmp/in/text" || exit 1
    (
        set -e
        cd "$tmp/in"
        echo '{"ctx": "the", "endings": ["a", "b"], "label": 1}' >choices
        "$train" run $tiny --steps 2 --sparsity 0.5 --quiet --out model
        "$train" run $tiny --steps 2 --stop 1 --every 1 --quiet --out half
        env LD_PRELOAD="$tmp/calls.so" FAIL=rename:6+ "$train" ${line[again]} 2>/dev/null || [[ $? == 2 ]]
        rm model.best half.best
        "$train" convert model in.gguf
        "$train" convert model theirs
        "$train" dump dump $small --steps 1
        "$train" tokenize --vocab 260 --text text --save vocabulary <choices >ids
    ) >"$tmp/out" || exit 1
}

# ---- one try ---------------------------------------------------------------------------------------------

# begin: a folder with the inputs alone
begin() { rm -rf "$tmp/case" && cp -r "$tmp/in" "$tmp/case"; }

# go COMMAND WORDS...: runs what the words begin (env, stop, a shell), then the command; sets status
go() {
    local of=$1
    shift
    (cd "$tmp/case" && ulimit -t 20 && exec timeout -k 1 600 "$@" "$train" ${line[$of]}) <"$tmp/in/${input[$of]:-text}" >"$tmp/out" 2>"$tmp/err"
    status=$?
}
calm() { go "$1" env LD_PRELOAD="$tmp/calls.so"; }

# bad COMMAND WHAT...: something was lost
bad() {
    failed=$((failed + 1))
    ((failed > 20)) && return
    echo "$part of $1: ${*:2}: status $status"
    sed 's/^/    /' "$tmp/err" | head -n 5
}

# same COMMAND: whether every file is as it should be
same() { diff -r "$tmp/ref.$1" "$tmp/case" >"$tmp/diff"; }
# logged: a line that the log did not take was told of, and is in no other file; so the right log has it not
logged() {
    [[ $said == 'train: log: cannot write'*'the checkpoint is written'* ]] &&
        [[ $(diff "$tmp/ref.$1/log" "$tmp/case/log" | grep -c '^[<>]') == 1 ]] &&
        cp "$tmp/ref.$1/log" "$tmp/case/log"
}
# of_its_own COMMAND: a resumed run tells of its own steps how long they took and what the first fired; the rest
# of its JSON must be as it should be, and the trace whole
of_its_own() {
    local own='s/"\(train_loss\|tokens_per_second\|step_ms\|peak_share\)": [^,]*, //g' json=$tmp/case/json
    [[ -f $json && $(sed "$own" "$json") == $(sed "$own" "$tmp/ref.$1/json") ]] && cp "$tmp/ref.$1/json" "$json"
    [[ -f $tmp/case/trace && $(tail -n 1 "$tmp/case/trace") == ']}' ]] && cp "$tmp/ref.$1/trace" "$tmp/case/trace"
}
# left: whether a temporary file is there, or a lock that somebody had
left() { [[ $(find "$tmp/case" -name '*.tmp' -o -name '*.lock' -size +0) ]]; }

# on COMMAND: the same again, or --resume; whether it comes to the right bytes
on() {
    calm "$1"
    if ((status == 2)) && grep -q 'exists already' "$tmp/err"; then
        local keep=${line[$1]}
        line[$1]="run --resume m --text text ${keep##*--out m}"
        [[ $keep == *--quiet* ]] && line[$1]+=' --quiet'
        [[ $keep == *dataflow* ]] && line[$1]+=' --schedule dataflow'
        calm "$1"
        line[$1]=$keep
        of_its_own "$1"
        logged "$1"
    fi
    ((status == ${right[$1]})) && same "$1"
}
# goes_on COMMAND: the same, but what went on from these very files need not do it again
declare -A went_on=()
goes_on() {
    local files
    files=$1:$(tar -C "$tmp/case" --sort=name --mtime=@0 -c . | cksum)${said//[0-9]/}
    [[ ${went_on[$files]-} ]] && return
    on "$1" && went_on[$files]=yes
}

# judge COMMAND WHAT: of the try that has just ended; sets said: the line, if it was stopped in order
judge() {
    local name=$1 what=$2 lines
    said=
    mapfile lines <"$tmp/err"
    if ((status == ${right[$name]})); then
        ((status == 2)) && find "$tmp/case" -name '*.lock' -size 0 -delete      # one that nobody had yet
        if ((${#lines[@]} != (status == 2))); then bad "$name" "$what: said something, or not one line"
        elif ! cmp -s "$tmp/out" "$tmp/ref.$name.out"; then bad "$name" "$what: printed something else"
        elif ! same "$name"; then bad "$name" "$what: $(head -n 1 "$tmp/diff")"
        else whole=$((whole + 1)) passed=$((passed + 1))
        fi
        return
    fi
    if ((status != 2)); then bad "$name" "$what"
    elif ((${#lines[@]} != 1)) || [[ ${lines[0]} != 'train: '*$'\n' ]]; then bad "$name" "$what: not one line"
    elif [[ ${lines[0]} == *Success* ]]; then bad "$name" "$what: no reason given"
    elif left; then bad "$name" "$what: left $(find "$tmp/case" -name '*.tmp' -o -name '*.lock')"
    elif said=${lines[0]}; ! goes_on "$name"; then
        bad "$name" "$what ($said): does not go on: $(head -n 1 "$tmp/diff")"
    else stopped=$((stopped + 1)) passed=$((passed + 1))
    fi
}

# reference COMMAND: what an undisturbed run leaves and prints, and the counts of its calls
reference() {
    local name=$1
    [[ -d $tmp/ref.$name ]] && return
    begin
    go "$name" env LD_PRELOAD="$tmp/calls.so" FAIL_COUNT="$tmp/count.$name"
    right[$name]=${refused[$name]-0}
    if ((status != ${right[$name]})) || { ((status == 0)) && [[ -s $tmp/err ]]; }; then
        bad "$name" undisturbed
        return 1
    fi
    cp -r "$tmp/case" "$tmp/ref.$name" && cp "$tmp/out" "$tmp/ref.$name.out"
}

# ---- the parts -------------------------------------------------------------------------------------------

# calls COMMAND TRIES: of every kind at most so many, evenly; 0: all. Of a program that has died of one
# allocation all that follow are left out but for one in 16.
calls() {
    local name=$1 most=$2 kind n all step died=()
    part=calls
    reference "$name" || return
    for kind in $kinds; do
        all=$(awk -v kind="${kind%+}" '$1 == kind { print $2 }' "$tmp/count.$name")
        step=$((most > 0 && all > most ? (all + most - 1) / most : 1))
        for ((n = 1 + RANDOM % step; n <= all; n += step)); do
            [[ $kind == memory+ ]] && ((most == 0 && n % 16)) && [[ ${died[n]-} ]] && continue
            begin
            go "$name" env LD_PRELOAD="$tmp/calls.so" FAIL="${kind%+}:$n${kind#"${kind%+}"}"
            judge "$name" "$kind $n of $all"
            [[ $kind == memory && $said == 'train: out of memory: '* ]] && died[n]=yes
        done
    done
}

# kill COMMAND TRIES: SIGKILL, then SIGTERM
kills() {
    local name=$1 most=$2 n all step number
    part=kill
    reference "$name" || return
    begin
    go "$name" env LD_PRELOAD="$tmp/calls.so" "$tmp/stop" 0 9 "$tmp/begun"
    if ((status == 77)); then
        randomly "$name" $((most > 0 ? most : 500))
        return
    fi
    all=$(cat "$tmp/begun")
    step=$((most > 0 && all > most ? (all + most - 1) / most : 1))
    for number in 9 15; do
        for ((n = 1 + RANDOM % step; n <= all; n += step)); do
            begin
            go "$name" env LD_PRELOAD="$tmp/calls.so" "$tmp/stop" "$n" $number "$tmp/begun"
            killed "$name" $number "system call $n of $all"
        done
    done
}
# nameless COMMAND: takes away the temporary file that SIGKILL has left of a command without a lock. A lock tells the
# next one whose file that is; without, nobody knows whether its process is at work.
nameless() {
    [[ ${line[$1]} == run* || ${line[$1]} == compare* ]] && return
    local files
    mapfile -t files < <(find "$tmp/case" -name '*.tmp')
    ((${#files[@]} == 1)) && rm "${files[0]}"
}
# killed COMMAND SIGNAL WHAT: of the try that this signal has ended, or was to end
killed() {
    said=
    (($2 == 9)) && nameless "$1"
    if (($2 == 15)) && left; then bad "$1" "signal $2 at $3: left $(find "$tmp/case" -name '*.tmp' -o -name '*.lock')"
    elif ((status != 128 + $2 && status != 3 && status != 0)); then bad "$1" "signal $2 at $3"
    elif ! on "$1"; then bad "$1" "signal $2 at $3: does not go on: $(head -n 1 "$tmp/diff")"
    else passed=$((passed + 1)) stopped=$((stopped + 1))
    fi
}
# randomly COMMAND TRIES: SIGKILL after up to twice the time that it takes
randomly() {
    local name=$1 n start=${EPOCHREALTIME/./} took
    begin
    calm "$name"
    took=$((${EPOCHREALTIME/./} - start))
    for ((n = 0; n < $2; n++)); do
        begin
        go "$name" timeout -s KILL "$(awk -v t=$took -v r=$RANDOM 'BEGIN { print 2e-6 * t * (r + 1) / 32768 }')" \
            env LD_PRELOAD="$tmp/calls.so"
        killed "$name" 9 'a random moment'
    done
}

# limited COMMAND KIB
limited() {
    begin
    go "$1" bash -c 'ulimit -v $0 && exec "$@"' "$2" env LD_PRELOAD="$tmp/calls.so"
}
# starts: whether the program itself has had a word, with status 0 or 2
starts() { ((status == 0)) || { ((status == 2)) && grep -q '^train: ' "$tmp/err"; }; }

# limit COMMAND KIB: judges it; sets now: what it said, or "right"
limit() {
    limited "$1" "$2"
    if ((status == 0)); then now=right; else now=$(cat "$tmp/err"); fi
    judge "$1" "$2 KiB"
}

# memory COMMAND STEP: in KiB; and where two neighbours say different things, every 4 KiB between them
memory() {
    local name=$1 step=$2 low=0 high=65536 kib from now before=
    part=memory
    reference "$name" || return
    limited "$name" $high
    while ((status != 0)); do
        high=$((2 * high))
        limited "$name" $high
    done
    while ((high - low > 4)); do                # the least in which it starts
        kib=$(((low + high) / 8 * 4))
        limited "$name" $kib
        if starts; then high=$kib; else low=$kib; fi
    done
    for ((kib = high, good = 0; good < 4; kib += step)); do
        limit "$name" $kib
        if [[ $now == right ]]; then good=$((good + 1)); else good=0; fi
        if ((kib > high)) && [[ $now != "$before" ]]; then
            before=$now
            for ((from = kib - step + 4; from < kib; from += 4)); do limit "$name" $from; done
            now=$before
        fi
        before=$now
    done
}

# leaks COMMANDS...
leaks() {
    local name train=$tmp/leaks
    part=leaks
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -ffp-contract=off -g -march=native -fno-math-errno -fno-omit-frame-pointer \
        -fsanitize=address -o "$train" train.c data/base/start.c -pthread -lm || exit 1
    for name; do
        begin
        go "$name"
        if grep -q 'LeakSanitizer has encountered a fatal error' "$tmp/err"; then
            echo "leaks: this machine does not let them be found"
            return
        fi
        sed -i -n '/leak of/,/#4/p' "$tmp/err"
        if ((status)); then bad "$name" 'not all given back'; else whole=$((whole + 1)) passed=$((passed + 1)); fi
    done
}

# ---- what is asked for -----------------------------------------------------------------------------------

# report PART COMMAND: what has come of it since the last line
said_whole=0 said_stopped=0 said_failed=0
report() {
    printf '%-8s %-9s %6d right, %6d stopped in order, %4d lost, %4d s\n' "$1" "$2" $((whole - said_whole)) \
        $((stopped - said_stopped)) $((failed - said_failed)) $((SECONDS - began))
    said_whole=$whole said_stopped=$stopped said_failed=$failed began=$SECONDS
}
# jobs: all that there is, a part of a command a line, the longest first
jobs() {
    for name in $commands; do echo "calls $name"; done
    for name in $writers; do echo "kill $name"; done
    for name in ${commands/taken/}; do echo "memory $name"; done      # that one never comes to 0
}
# everything: the jobs, as many at once as there are processors
everything() {
    jobs | xargs -P "$(nproc)" -L 1 "$BASH" test/lost.sh | tee "$tmp/all" | grep --line-buffered -v '^[0-9]* passed, '
    awk -v jobs="$(jobs | wc -l)" '
        / passed, / { n++; passed += $1; failed += $3 }
        END { printf "%d passed, %d failed\n", passed, failed + jobs - n; exit failed + jobs - n > 0 }' "$tmp/all"
    exit
}
began=$SECONDS
case ${1:-some} in
all) everything ;;
some | calls | kill | memory | leaks) inputs ;;
esac
case ${1:-some} in
some)
    for name in $commands; do calls "$name" 3; report calls "$name"; done
    for name in run compare; do kills "$name" 12; report kill "$name"; done
    for name in gguf tokenize; do memory "$name" 1024; report memory "$name"; done
    leaks ${commands/taken/}
    report leaks all
    ;;
calls) calls "$2" 0; report calls "$2" ;;
kill) kills "$2" 0; report kill "$2" ;;
memory) memory "$2" 64; report memory "$2" ;;
leaks) leaks ${2:-${commands/taken/}}; report leaks "${2:-all}" ;;
*) echo "usage: test/lost.sh [all | leaks | calls COMMAND | kill COMMAND | memory COMMAND]"; exit 2 ;;
esac
echo "$passed passed, $failed failed"
exit $((failed > 0))
