// Command auditd runs the audit service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/audit"
)

func main() { boot.Main("audit", audit.Run) }
