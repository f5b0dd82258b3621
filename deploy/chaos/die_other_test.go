//go:build !linux

package chaos_test

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
