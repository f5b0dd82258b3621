package payment

// The codes by which customers and callbacks name the providers.
const (
	phonepe1Code = "phonepe-v1"
	razorpayCode = "razorpay"
	stripeCode   = "stripe"
)

// Under these names our order and our refund travel in a provider's notes and
// metadata.
const (
	noteOrder  = "merchantOrderId"
	noteRefund = "merchantRefundId"
)
