/*
 * Makes filters with libseccomp from a description on standard input and writes the programs to standard output.
 * Numbers are hexadecimal, fields are separated by blanks:
 *
 *   filter AUDIT_ARCH DEFAULT_ACTION
 *   call NAME NUMBER ACTION COUNT { ARG OP VALUE VALUE } x COUNT     NAME is - to go by the number
 *   end
 *
 * answered with one "skipped NUMBER" for each call this version of libseccomp has no name for, one
 * "instruction CODE JT JF K" for each instruction, and "end". OP is libseccomp's enum scmp_compare.
 */
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *what, long code)
{
	fprintf(stderr, "libseccomp oracle: %s (%ld)\n", what, code);
	exit(1);
}

static scmp_filter_ctx begin(void)
{
	unsigned int arch, action;
	if (scanf("%x %x", &arch, &action) != 2)
		fail("bad filter line", 0);
	scmp_filter_ctx ctx = seccomp_init(action);
	if (ctx == NULL)
		fail("seccomp_init", action);
	if (arch != seccomp_arch_native()) {
		int rc = seccomp_arch_add(ctx, arch);
		if (rc == 0)
			rc = seccomp_arch_remove(ctx, seccomp_arch_native());
		if (rc != 0)
			fail("choose architecture", rc);
	}
	int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (rc != 0)
		fail("set action for other architectures", rc);
	return ctx;
}

static void call(scmp_filter_ctx ctx)
{
	char name[64];
	unsigned int number, action, count;
	struct scmp_arg_cmp conditions[6];
	if (scanf("%63s %x %x %x", name, &number, &action, &count) != 4 || count > 6)
		fail("bad call line", 0);
	for (unsigned int i = 0; i < count; i++) {
		unsigned int arg, op;
		unsigned long a, b;
		if (scanf("%x %x %lx %lx", &arg, &op, &a, &b) != 4)
			fail("bad condition", number);
		conditions[i] = (struct scmp_arg_cmp){ .arg = arg, .op = op, .datum_a = a, .datum_b = b };
	}
	int nr = (int)number;
	if (strcmp(name, "-") != 0) {
		nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR) {
			printf("skipped %x\n", number);
			return;
		}
	}
	int rc = seccomp_rule_add_array(ctx, action, nr, count, conditions);
	if (rc != 0)
		fail(name, rc);
}

static void end(scmp_filter_ctx ctx)
{
	FILE *file = tmpfile();
	if (file == NULL)
		fail("tmpfile", 0);
	int rc = seccomp_export_bpf(ctx, fileno(file));
	if (rc != 0)
		fail("seccomp_export_bpf", rc);
	lseek(fileno(file), 0, SEEK_SET);
	struct sock_filter instruction;
	while (fread(&instruction, sizeof instruction, 1, file) == 1)
		printf("instruction %x %x %x %x\n", instruction.code, instruction.jt, instruction.jf, instruction.k);
	printf("end\n");
	fclose(file);
	seccomp_release(ctx);
}

int main(void)
{
	char word[16];
	scmp_filter_ctx ctx = NULL;
	while (scanf("%15s", word) == 1) {
		if (strcmp(word, "filter") == 0)
			ctx = begin();
		else if (strcmp(word, "call") == 0)
			call(ctx);
		else if (strcmp(word, "end") == 0)
			end(ctx);
		else
			fail("unknown word", word[0]);
	}
	return 0;
}
