package stack

import "syscall"

// dieWithParent makes the kernel kill the child when the supervisor dies, whatever killed it.
func dieWithParent(a *syscall.SysProcAttr) {
	a.Setpgid = true // Ctrl-C is for the supervisor, which stops its children in order
	a.Pdeathsig = syscall.SIGKILL
}

// asUser1000 maps user 1000 of a new namespace to root: PostgreSQL refuses to be root, and its files stay root's.
func asUser1000() syscall.SysProcAttr {
	return syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		Credential:  &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
	}
}

// asSession lets a daemon outlive the terminal.
func asSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
