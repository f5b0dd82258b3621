//go:build !linux

package chaos_test

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }

func asNobodySpecial() *syscall.SysProcAttr { return nil }
