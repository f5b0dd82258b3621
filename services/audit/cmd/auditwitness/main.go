// Command auditwitness runs the witness of the audit log.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/audit/witness"
)

func main() { boot.Main("auditwitness", witness.Run) }
