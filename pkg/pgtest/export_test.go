package pgtest

// What the package's own tests need to see.
var (
	Sweep  = sweep
	LockOf = lockOf
)
