// Command userd runs the user service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/user"
)

func main() { boot.Main("user", user.Run) }
