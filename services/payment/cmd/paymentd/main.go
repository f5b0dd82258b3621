// Command paymentd runs the payment service.
package main

import (
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/payment"
)

func main() { boot.Main("payment", payment.Run) }
