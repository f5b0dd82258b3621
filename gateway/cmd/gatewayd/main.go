// Command gatewayd runs the edge.
package main

import (
	"github.com/manas360/platform/gateway"
	"github.com/manas360/platform/pkg/boot"
)

func main() { boot.Main("gateway", gateway.Run) }
