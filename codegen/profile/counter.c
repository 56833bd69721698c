/*
 * Calls functions of a Cortex-M program in Unicorn and counts what they do:
 *
 *   counter CORE JOB RESULT
 *
 * JOB is a sequence of 32-bit words, all in this computer's byte order:
 *   address to return to, stack pointer,
 *   number of memories, then address and size of each,
 *   number of images, then address and size of each,
 *   number of ranges that accesses are told apart by, then first address and size of each,
 *   number of kernels, then first address and size of each, by address,
 *   number of kernel calls, then layer and 0 of each,
 *   address and size of what to give back,
 *   number of calls to make, then address, r0, r1 and r2 of each,
 * followed by the bytes of the images.
 *
 * Everything counts to the layer of the kernel call that is under way, or else of the next one.
 * Calls from kernel to kernel are part of the outer one.
 *
 * RESULT: number of edges, number of accesses, then struct count of each, then the bytes asked for.
 *   edge    layer, block, address after the block, next block; times
 *   access  layer, block, class, 0; times, where class = write | extra cycles << 1 | range << 3,
 *           range is a number from 1 or 0 for none of them, and extra cycles are those of an
 *           unaligned access on a 32-bit bus (ARM 100166, 3.3.2)
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

enum { TABLE_SIZE = 1 << 20, MOST_RANGES = 1 << 20 };

struct count {
    uint32_t layer, block, what, next;
    uint64_t times;
};

struct table {
    struct count *slots;
    uint32_t used;
};

struct range {
    uint32_t first, second;
};

struct ranges {
    uint32_t number;
    struct range *all;
};

struct run {
    struct table edges, accesses;
    struct ranges told_apart, kernels, kernel_calls;
    uint32_t kernel_calls_begun;
    uint32_t kernel_return; /* where the kernel call that is under way returns to */
    uint32_t layer, block, block_end, end;
    uint32_t invalid_address;
};

static void fail(const char *what) {
    fprintf(stderr, "counter: %s\n", what);
    exit(1);
}

static void check(uc_err error, const char *what) {
    if (error != UC_ERR_OK) {
        fprintf(stderr, "counter: %s: %s\n", what, uc_strerror(error));
        exit(1);
    }
}

static void *allocate(size_t number, size_t size) {
    void *memory = calloc(number + 1, size);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memory;
}

/* The count of a key; open addressing, `times` is 0 in a free slot. */
static struct count *find(struct table *table, uint32_t layer, uint32_t block, uint32_t key) {
    uint32_t hash = (layer * 0x9E3779B1u ^ block) * 0x85EBCA6Bu ^ key;
    hash = (hash ^ hash >> 15) * 0xC2B2AE35u;
    for (uint32_t i = hash ^ hash >> 13;; i++) {
        struct count *slot = &table->slots[i % TABLE_SIZE];
        if (slot->times == 0) {
            if (++table->used > TABLE_SIZE / 4 * 3) {
                fail("the program has too many branches");
            }
            slot->layer = layer;
            slot->block = block;
        } else if (slot->layer != layer || slot->block != block || slot->next != key) {
            continue;
        }
        slot->next = key;
        slot->times++;
        return slot;
    }
}

static void leave_block(struct run *run, uint32_t next) {
    if (run->block != run->end) {
        find(&run->edges, run->layer, run->block, next)->what = run->block_end;
    }
}

/* The kernel that holds an address, or NULL. */
static const struct range *kernel_at(const struct run *run, uint32_t address) {
    for (uint32_t low = 0, high = run->kernels.number; low < high;) {
        const uint32_t middle = (low + high) / 2;
        const struct range *kernel = &run->kernels.all[middle];
        if (address < kernel->first) {
            high = middle;
        } else if (address - kernel->first < kernel->second) {
            return kernel;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* The layer of the kernel call with that number; after the last one, the last one's. */
static void set_layer(struct run *run, uint32_t number) {
    if (number < run->kernel_calls.number) {
        run->layer = run->kernel_calls.all[number].first;
    }
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    struct run *run = data;
    const uint32_t block = (uint32_t)address;
    leave_block(run, block);
    const struct range *kernel = kernel_at(run, block);
    if (kernel != NULL && kernel->first == block && kernel_at(run, run->block) == NULL &&
        run->kernel_return == run->end) {
        uint32_t link = 0;
        check(uc_reg_read(uc, UC_ARM_REG_LR, &link), "registers");
        run->kernel_return = link & ~1u;
        set_layer(run, run->kernel_calls_begun++);
    } else if (block == run->kernel_return) {
        run->kernel_return = run->end;
        set_layer(run, run->kernel_calls_begun);
    }
    run->block = block;
    run->block_end = block + size;
}

static void on_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                      void *data) {
    struct run *run = data;
    uint32_t class = type == UC_MEM_WRITE;
    (void)uc;
    (void)value;
    if (size >= 4 && (address & 1) != 0) {
        class |= 2u << 1;
    } else if ((size >= 4 && (address & 2) != 0) || (size == 2 && (address & 1) != 0)) {
        class |= 1u << 1;
    }
    for (uint32_t i = 0; i < run->told_apart.number; i++) {
        const struct range range = run->told_apart.all[i];
        if (address - range.first < range.second) {
            class |= (i + 1) << 3;
            break;
        }
    }
    find(&run->accesses, run->layer, run->block, class);
}

static bool on_invalid(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                       void *data) {
    (void)uc;
    (void)type;
    (void)size;
    (void)value;
    ((struct run *)data)->invalid_address = (uint32_t)address;
    return false;
}

static uint32_t read_word(FILE *job) {
    uint32_t word;
    if (fread(&word, sizeof word, 1, job) != 1) {
        fail("the job ends too early");
    }
    return word;
}

static struct ranges read_ranges(FILE *job) {
    struct ranges ranges = {read_word(job), NULL};
    if (ranges.number > MOST_RANGES) {
        fail("the job is damaged");
    }
    ranges.all = allocate(ranges.number, sizeof *ranges.all);
    for (uint32_t i = 0; i < ranges.number; i++) {
        ranges.all[i].first = read_word(job);
        ranges.all[i].second = read_word(job);
    }
    return ranges;
}

static void load_images(uc_engine *uc, FILE *job, struct ranges images) {
    for (uint32_t i = 0; i < images.number; i++) {
        const struct range image = images.all[i];
        uint8_t *bytes = allocate(image.second, 1);
        if (fread(bytes, 1, image.second, job) != image.second) {
            fail("the job ends too early");
        }
        check(uc_mem_write(uc, image.first, bytes, image.second), "loading the program");
        free(bytes);
    }
}

/* Unicorn's number of a core. It has no M0+, whose instructions are the M0's. */
static int cpu_model(const char *core) {
    static const struct {
        const char *core;
        int model;
    } known[] = {
        {"cortex-m0", UC_CPU_ARM_CORTEX_M0}, {"cortex-m0plus", UC_CPU_ARM_CORTEX_M0},
        {"cortex-m3", UC_CPU_ARM_CORTEX_M3}, {"cortex-m4", UC_CPU_ARM_CORTEX_M4},
        {"cortex-m7", UC_CPU_ARM_CORTEX_M7}, {"cortex-m33", UC_CPU_ARM_CORTEX_M33},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].core, core) == 0) {
            return known[i].model;
        }
    }
    fail("Unicorn does not know this core");
    return -1;
}

/* Full access to the FPU, where the core has one: M-profile's CPACR (DDI 0403, B3.2.20) has no
 * name in Unicorn, FPEXC has. */
static void enable_fpu(uc_engine *uc) {
    const uint32_t access = 0x00F00000u, enable = 0x40000000u;
    (void)uc_reg_write(uc, UC_ARM_REG_C1_C0_2, &access);
    (void)uc_reg_write(uc, UC_ARM_REG_FPEXC, &enable);
}

static void call(uc_engine *uc, struct run *run, uint32_t stack, const uint32_t words[4]) {
    static const int numbers[] = {UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2};
    const uint32_t back = run->end | 1u;
    for (int i = 0; i < 3; i++) {
        check(uc_reg_write(uc, numbers[i], &words[i + 1]), "registers");
    }
    check(uc_reg_write(uc, UC_ARM_REG_SP, &stack), "registers");
    check(uc_reg_write(uc, UC_ARM_REG_LR, &back), "registers");
    run->block = run->kernel_return = run->end;
    const uc_err error = uc_emu_start(uc, words[0] | 1u, run->end, 0, 0);
    if (error != UC_ERR_OK) {
        fprintf(stderr, "counter: %s: block=0x%" PRIx32 " address=0x%" PRIx32 "\n",
                uc_strerror(error), run->block, run->invalid_address);
        exit(1);
    }
    leave_block(run, run->end);
}

static void write_counts(FILE *result, const struct table *table) {
    for (uint32_t i = 0; i < TABLE_SIZE; i++) {
        if (table->slots[i].times != 0) {
            fwrite(&table->slots[i], sizeof table->slots[i], 1, result);
        }
    }
}

static void write_result(uc_engine *uc, const char *path, const struct run *run,
                         struct range wanted) {
    uint8_t *bytes = allocate(wanted.second, 1);
    check(uc_mem_read(uc, wanted.first, bytes, wanted.second), "reading the output");
    FILE *result = fopen(path, "wb");
    if (result == NULL) {
        fail("the result cannot be written");
    }
    const uint32_t numbers[2] = {run->edges.used, run->accesses.used};
    fwrite(numbers, sizeof numbers, 1, result);
    write_counts(result, &run->edges);
    write_counts(result, &run->accesses);
    fwrite(bytes, 1, wanted.second, result);
    if (ferror(result) || fclose(result) != 0) {
        fail("the result cannot be written");
    }
    free(bytes);
}

static void add_hooks(uc_engine *uc, struct run *run) {
    uc_hook hook;
    check(uc_hook_add(uc, &hook, UC_HOOK_BLOCK, (void *)on_block, run, 1, 0), "hook");
    check(
        uc_hook_add(uc, &hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access, run, 1, 0),
        "hook");
    check(uc_hook_add(uc, &hook, UC_HOOK_MEM_INVALID, (void *)on_invalid, run, 1, 0), "hook");
    check(uc_ctl_flush_tb(uc), "hook"); /* what was translated before has no hooks */
}

int main(int argc, char **argv) {
    FILE *job = argc == 4 ? fopen(argv[2], "rb") : NULL;
    if (job == NULL) {
        fail("usage: counter CORE JOB RESULT");
    }
    struct run run = {.layer = 0};
    run.edges.slots = allocate(TABLE_SIZE, sizeof *run.edges.slots);
    run.accesses.slots = allocate(TABLE_SIZE, sizeof *run.accesses.slots);

    uc_engine *uc;
    check(uc_open(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS, &uc), "starting Unicorn");
    check(uc_ctl_set_cpu_model(uc, cpu_model(argv[1])), "core");
    run.end = read_word(job);
    const uint32_t stack = read_word(job);
    const struct ranges memories = read_ranges(job);
    for (uint32_t i = 0; i < memories.number; i++) {
        const struct range memory = memories.all[i];
        check(uc_mem_map(uc, memory.first, memory.second, UC_PROT_ALL), "memory map");
    }
    const struct ranges images = read_ranges(job);
    run.told_apart = read_ranges(job);
    run.kernels = read_ranges(job);
    run.kernel_calls = read_ranges(job);
    const uint32_t wanted = read_word(job);
    const struct range output = {wanted, read_word(job)};
    const uint32_t number = read_word(job);
    uint32_t(*calls)[4] = allocate(number, sizeof *calls);
    for (uint32_t i = 0; i < number * 4; i++) {
        calls[i / 4][i % 4] = read_word(job);
    }
    load_images(uc, job, images);

    enable_fpu(uc);
    add_hooks(uc, &run);
    set_layer(&run, 0);
    for (uint32_t i = 0; i < number; i++) {
        call(uc, &run, stack, calls[i]);
    }
    if (run.kernel_calls_begun != run.kernel_calls.number) {
        fprintf(stderr, "counter: %" PRIu32 " kernel calls, expected %" PRIu32 "\n",
                run.kernel_calls_begun, run.kernel_calls.number);
        return 1;
    }
    write_result(uc, argv[3], &run, output);
    uc_close(uc);
    return 0;
}
