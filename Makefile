# make              ./train: train.c and the headers, one translation unit, and the few lines it starts with
# make test         every test; QUICK=1 for smaller sweeps of the same tests, ONLY="gpt pool" for some of them
# make asan tsan    the tests and ./train under the address + undefined behaviour and the thread sanitizers
# make fuzz         every fuzzer for SECONDS=180 each, with clang
# make headers      each header by itself
# make bench clean  what they say
#
# gcc or clang: make CC=clang. WERROR=1 makes warnings errors. For another machine, linked
# statically, with the tests under an emulator:
#     make test CC=aarch64-linux-gnu-gcc ARCH= STATIC=1 O=.build/arm/ RUN=qemu-aarch64
# PORTABLE=1 builds for every x86 of 64 bits: the program three times in one binary, for AVX-512, for AVX2 and for
# the plainest, whose arithmetic is right but slow. The widest that the processor has runs; the bits are the same:
#     make PORTABLE=1 CC=musl-gcc STATIC=1 O=.build/portable/
# O is the folder to build in. Give each kind of build its own: make looks at files, not at flags.

CFLAGS ?= -O3
SECONDS = 180

# The same bits everywhere are part of what the program promises: so no -ffast-math, and no multiplication and
# addition fused into one rounding unless the source says so.
override CFLAGS += -std=c11 -D_GNU_SOURCE -fno-math-errno -Wall -Wextra -ffp-contract=off
override CFLAGS += $(if $(filter 1,$(WERROR)),-Werror)
override LDFLAGS += -pthread $(if $(filter 1,$(STATIC)),-static)

# The kernels are as wide as the machine they are compiled for. Compilers for x86 know this one as
# -march=native, some for ARM only as -mcpu=native, and those for another machine not at all: ARCH= names it.
works = $(shell $(CC) $(1) -c -x c -o /dev/null /dev/null 2>/dev/null && echo $(1))
ARCH := $(or $(call works,-march=native),$(call works,-mcpu=native))

HEADERS = $(wildcard *.h data/*/*.h)
TESTS = $(wildcard test/*.h)
FUZZERS = $(patsubst test/fuzz/%.c,test/fuzz/bin/%,$(wildcard test/fuzz/fuzz_*.c))
SANITIZE = $(MAKE) test O=.build/$@/ CFLAGS='-O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all

# First, for it is what make alone makes.
ifneq ($(PORTABLE),1)
$(O)train: train.c $(HEADERS) $(O)start.o
	@mkdir -p $(@D)
	$(CC) $(ARCH) $(CFLAGS) -o $@ $< $(O)start.o $(LDFLAGS) -lm

$(O)test/test: test/test.c train.c $(HEADERS) $(TESTS) $(O)start.o
	@mkdir -p $(@D)
	$(CC) $(ARCH) $(CFLAGS) -o $@ $< $(O)start.o $(LDFLAGS) -lm
else
$(O)train: $(O)train-avx512.o $(O)train-avx2.o $(O)train-plain.o $(O)start-portable.o
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) -lm

$(O)test/test: $(O)test/test-avx512.o $(O)test/test-avx2.o $(O)test/test-plain.o $(O)start-portable.o
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) -lm
endif

# The same source for three processors, each time with `program` under another name: start.c knows them.
march-avx512 = x86-64-v4
march-avx2 = x86-64-v3
march-plain = x86-64
define one_of_three =
	@mkdir -p $(@D)
	$(CC) -march=$(march-$*) $(CFLAGS) -Dprogram=program_$* -Dprogram_built_for=program_$*_built_for -c -o $@ $<
endef
$(O)train-%.o: train.c $(HEADERS)
	$(one_of_three)
$(O)test/test-%.o: test/test.c train.c $(HEADERS) $(TESTS)
	$(one_of_three)

# Where the program begins, for the plainest processor of the family: it refuses what this one cannot run.
$(O)start.o: data/base/start.c
	@mkdir -p $(@D)
	$(CC) $(ARCH) $(CFLAGS) $(call works,-march=x86-64) -c -o $@ $<
$(O)start-portable.o: data/base/start.c
	@mkdir -p $(@D)
	$(CC) -march=x86-64 $(CFLAGS) -DPORTABLE -c -o $@ $<

# RUN is a prefix such as an emulator. The tests run the program as TRAIN says.
test: $(O)train $(O)test/test
	TRAIN='$(strip $(RUN) ./$(O)train)' $(RUN) ./$(O)test/test $(ONLY)

bench: $(O)train
	$(RUN) ./$(O)train bench

# A test that expects an error jumps out of the function that found it, so memory it held is not a leak. Here char is
# unsigned, as on ARM.
asan:
	ASAN_OPTIONS=detect_leaks=0 $(SANITIZE) -fsanitize=address,undefined -funsigned-char'
tsan:
	$(SANITIZE) -fsanitize=thread'

headers:
	@for h in $(HEADERS) $(TESTS); do \
	    echo "#include \"$$h\"" | $(CC) $(ARCH) $(CFLAGS) -Wno-unused-function -fsyntax-only -I. -x c - \
	        || exit 1; done

# Unoptimised: with all checks the compiler takes minutes over the products, which are not what is tried.
test/fuzz/bin/%: test/fuzz/%.c test/fuzz/held.h train.c $(HEADERS)
	@mkdir -p $(@D)/$*.found
	clang -O0 -g -std=c11 -D_GNU_SOURCE -ffp-contract=off -Wall -Wextra -fno-sanitize-recover=all \
	    -fsanitize=fuzzer,address,undefined -o $@ $< -pthread -lm
fuzz: $(FUZZERS)
	@for f in $(FUZZERS); do name=$${f##*/fuzz_}; echo "fuzz $$name"; \
	    $$f -max_total_time=$(SECONDS) -verbosity=0 -print_final_stats=1 -artifact_prefix=test/fuzz/bin/ \
	        $$f.found $$(ls -d test/fuzz/corpus/$$name 2>/dev/null) || exit 1; done

clean:
	rm -rf $(O)train $(O)*.o $(O)test/test $(O)test/*.o test/fuzz/bin .build

.PHONY: test bench asan tsan headers fuzz clean
