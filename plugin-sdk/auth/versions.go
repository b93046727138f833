package auth

// Kind is the plugin kind's name, Protocol the version this page of the contract has.
const (
	Kind     = "auth"
	Protocol = 1
)
