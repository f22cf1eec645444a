package main

import (
	"context"
	"fmt"
)

// counted is "1 image", "2 images".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// are is "1 image is", "2 images are".
func are(n int, what string) string {
	return counted(n, what) + " " + isAre(n)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// interrupted ends a verb that was interrupted.
type interrupted struct{ text string }

func (i interrupted) Error() string { return i.text }
func (interrupted) Unwrap() error   { return context.Canceled }
