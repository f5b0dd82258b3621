package chaos_test

import "syscall"

// dieWithTest has the kernel kill a child when the thread that started it ends.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
