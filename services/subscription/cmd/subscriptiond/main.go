// Command subscriptiond runs the subscription service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/subscription"
)

func main() { boot.Main("subscription", subscription.Run) }
