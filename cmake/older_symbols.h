// older_symbols.h: read before every source of a wheel.
//
// GCC 12 and newer call this function by a name that libstdc++ has from then on (GLIBCXX_3.4.30); the
// older name leads to the same one.
__asm__(
    ".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE,"
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
