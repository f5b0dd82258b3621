// Command admind runs the admin service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/admin"
)

func main() { boot.Main("admin", admin.Run) }
