// Package ui is the border between what the program's verbs do and how their user hears of it: text for people
// (ui/text), JSON lines for programs (ui/json). Verbs never ask which of the two it is.
package ui

import "io"

// UI shows a verb's progress, results and troubles. It is safe for concurrent use.
type UI interface {
	// Progress says how far long work is; a new Phase ends the one before. It may be called as often as work is done:
	// what is shown is thinned out.
	Progress(Progress)
	// Show gives a result.
	Show(Message) error
	// Note tells, beside the results, how the work is done.
	Note(Message)
	// Failed reports an input that could not be used while the rest goes on. err names the input and the reason.
	Failed(input string, err error)
	// Warn reports what the user should know though the work goes on.
	Warn(text string)
	// Error reports what ended the program, which will exit with code.
	Error(err error, code int)
	// Close ends the display of progress.
	Close()
}

// Progress is a step of long work.
type Progress struct {
	Phase string
	Done  int
	Total int // 0: not known
}

// Message is a result. Its JSON encoding is an object: what programs read. Text is what people read.
type Message interface {
	// MessageType names the message in JSON; see docs/scripting.md.
	MessageType() string
	Text(w io.Writer) error
}
