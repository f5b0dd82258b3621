package chaos_test

import (
	"os"
	"syscall"
)

// dieWithTest has the kernel kill a child when the thread that started it ends.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// asNobodySpecial lets PostgreSQL, which refuses to be root, run as user 1000 of
// a namespace whose files stay root's; see deploy/dev/stack.
func asNobodySpecial() *syscall.SysProcAttr {
	a := dieWithTest()
	a.Setpgid = true
	if os.Geteuid() == 0 {
		a.Cloneflags = syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
		a.Credential = &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true}
	}
	return a
}
