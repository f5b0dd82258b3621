package fail

// KindCount is the number of kinds ByReason knows.
func KindCount() int { return len(byReason) }
