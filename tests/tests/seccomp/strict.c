/* strict [WORD]: copies its standard input to its standard output, with no C library and no call
 * but read, write and exit. With a WORD it asks for its process id first. */
static long call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, GETPID = 39, EXIT = 60 };
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
#else
enum { READ = 63, WRITE = 64, GETPID = 172, EXIT = 93 };
__asm__(".globl _start\n_start: mov x0, sp\nbl begin\n");
#endif

void begin(long *stack)
{
    static char buffer[4096];
    long got;
    if (stack[0] > 1)
        call(GETPID, 0, 0, 0);
    while ((got = call(READ, 0, (long)buffer, sizeof buffer)) > 0)
        call(WRITE, 1, (long)buffer, got);
    call(EXIT, got < 0 ? 1 : 0, 0, 0);
}
