// Command authd runs the auth service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/auth"
)

func main() { boot.Main("auth", auth.Run) }
