//go:build !linux

package stack

import "syscall"

// dieWithParent does what there is without Linux: the group of its own. A supervisor killed with -9 leaves
// its children there; the next start finds their ports taken and says so.
func dieWithParent(a *syscall.SysProcAttr) { a.Setpgid = true }

func asUser1000() syscall.SysProcAttr { return syscall.SysProcAttr{} }

func asSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
