package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// output is a picture of what was found.
type output string

const (
	maskOutput    output = "mask"
	mapOutput     output = "map"
	overlayOutput output = "overlay"
)

func outputs() []output { return []output{maskOutput, mapOutput, overlayOutput} }

// media is the output's media type.
func (o output) media() string {
	if o == mapOutput {
		return "image/tiff"
	}
	return "image/png"
}

const (
	jsonType  = "application/json"
	formType  = "multipart/form-data"
	bytesType = "application/octet-stream"
)

// mayBeImage reports whether a body that is said to be of a media type may be an image. Which format it is its content says.
func mayBeImage(media string) bool {
	const curl = "application/x-www-form-urlencoded" // what it says if it is told nothing
	return strings.HasPrefix(media, "image/") || media == bytesType || media == curl
}

// asked is what a request wants, as far as its headers say.
type asked struct {
	name     string // of the image; "": it has none, or it comes with the body
	outputs  []output
	raw      bool   // the one output by itself, instead of JSON
	boundary string // of a form; "": the body is the image
}

const (
	mostName  = 1 << 10 // bytes of an image's name
	unnamed   = "image"
	mostParts = 16 // of a form
)

// ask reads what a request wants.
func ask(r *http.Request) (a asked, fail *failure) {
	bad := func(code int, name, format string, args ...any) (asked, *failure) {
		return asked{}, &failure{code, name, fmt.Sprintf(format, args...)}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad(http.StatusBadRequest, "bad_query", "the query: %v", err)
	}
	for key, values := range query {
		switch key {
		case "name":
			a.name = values[len(values)-1]
		case "output":
			for _, name := range strings.Split(strings.Join(values, ","), ",") {
				o := output(name)
				if !slices.Contains(outputs(), o) {
					return bad(http.StatusBadRequest, "bad_query", "output %q: must be a comma-separated list of mask, map, overlay", name)
				}
				if !slices.Contains(a.outputs, o) {
					a.outputs = append(a.outputs, o)
				}
			}
		default:
			return bad(http.StatusBadRequest, "bad_query", "there is no parameter %q: name and output are what there is", key)
		}
	}
	if err := checkName(a.name); err != nil {
		return bad(http.StatusBadRequest, "bad_query", "%v", err)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return bad(http.StatusUnsupportedMediaType, "unsupported", "the body is encoded (%q): send the file as it is", e)
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		media, params, err := mime.ParseMediaType(t)
		switch {
		case err != nil:
			return bad(http.StatusUnsupportedMediaType, "unsupported", "Content-Type %q: %v", t, err)
		case media == formType && params["boundary"] == "":
			return bad(http.StatusBadRequest, "bad_form", "Content-Type %q has no boundary", t)
		case media == formType:
			a.boundary = params["boundary"]
		case !mayBeImage(media):
			return bad(http.StatusUnsupportedMediaType, "unsupported",
				"Content-Type %q: send a PNG, JPEG, TIFF, BMP or WebP file as image/*, %s or in %s", t, bytesType, formType)
		}
	}
	offers := []string{jsonType}
	if len(a.outputs) == 1 {
		offers = append(offers, a.outputs[0].media())
	}
	chosen := negotiate(r.Header.Values("Accept"), offers)
	if chosen == "" {
		return bad(http.StatusNotAcceptable, "not_acceptable", "Accept %q: there is %s; image/png and image/tiff are of one output that is asked for",
			strings.Join(r.Header.Values("Accept"), ", "), strings.Join(offers, " and "))
	}
	a.raw = chosen != jsonType
	return a, nil
}

func checkName(name string) error {
	switch {
	case len(name) > mostName:
		return fmt.Errorf("the image's name is of %d bytes, at most %d are allowed", len(name), mostName)
	case !utf8.ValidString(name):
		return errors.New("the image's name is not UTF-8")
	}
	return nil
}

// negotiate is what the client likes best of the offers, the first of those that it likes equally, "" if it takes none. Without an Accept
// header it takes all; of what that says about an offer, the most precise counts.
func negotiate(accept, offers []string) string {
	text := strings.TrimSpace(strings.Join(accept, ","))
	if text == "" {
		return offers[0]
	}
	best, most := "", 0.
	for _, offer := range offers {
		kind, _, _ := strings.Cut(offer, "/")
		liked, precise := 0., -1
		for part := range strings.SplitSeq(text, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			is := slices.Index([]string{"*/*", kind + "/*", offer}, media)
			if is < 0 || is < precise {
				continue
			}
			q := 1.
			if v, err := strconv.ParseFloat(params["q"], 64); err == nil && v >= 0 && v <= 1 {
				q = v
			}
			liked, precise = q, is
		}
		if liked > most {
			best, most = offer, liked
		}
	}
	return best
}

// read reads the image, and its name if that comes with it. most is how long the body may be.
func (a *asked) read(body io.Reader, length, most int64) ([]byte, *failure) {
	limited := &io.LimitedReader{R: body, N: most + 1}
	var data []byte
	var err error
	if a.boundary == "" {
		data, err = readAll(limited, length)
	} else {
		data, err = a.readForm(limited, length)
	}
	var malformed formError
	switch {
	case limited.N <= 0:
		return nil, tooLong(most)
	case errors.As(err, &malformed):
		return nil, &failure{http.StatusBadRequest, "bad_form", malformed.Error()}
	case err != nil && timedOut(err):
		return nil, &failure{http.StatusRequestTimeout, "slow", "the body did not arrive in time"}
	case err != nil:
		return nil, &failure{http.StatusBadRequest, "bad_body", fmt.Sprintf("the body ended early: %v", err)}
	case len(data) == 0:
		return nil, &failure{http.StatusBadRequest, "no_image", "there is no image in the body"}
	}
	return data, nil
}

func tooLong(most int64) *failure {
	return &failure{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is longer than the %d bytes that are allowed", most)}
}

// readAll reads all of r, which says that it has length bytes, if that is not below 0. It is believed as the bytes come.
func readAll(r io.Reader, length int64) ([]byte, error) {
	const first = 1 << 20
	var b bytes.Buffer
	b.Grow(int(min(max(length, 0), first)) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// formError is what is wrong with a form.
type formError struct{ text string }

func (e formError) Error() string { return "the form: " + e.text }

// readForm reads the one file of a form: the part with a filename, or the one called "image".
func (a *asked) readForm(r io.Reader, length int64) (data []byte, err error) {
	form := multipart.NewReader(r, a.boundary)
	found := false
	for n := 0; ; n++ {
		part, err := form.NextRawPart()
		switch {
		case err == io.EOF && !found:
			return nil, formError{`it has no part with a filename, and none called "image"`}
		case err == io.EOF:
			_, err = io.Copy(io.Discard, r) // only at a body's end does net/http hear that a client goes
			return data, err
		case err != nil:
			return nil, broken(err)
		case n == mostParts:
			return nil, formError{fmt.Sprintf("it has more than %d parts", mostParts)}
		}
		if part.FileName() == "" && part.FormName() != "image" {
			continue
		}
		if found {
			return nil, formError{"it has more than one image"}
		}
		found = true
		if e := part.Header.Get("Content-Transfer-Encoding"); e != "" && !strings.EqualFold(e, "binary") && !strings.EqualFold(e, "8bit") {
			return nil, formError{fmt.Sprintf("its image is encoded (%q): send the file as it is", e)}
		}
		if name := part.FileName(); a.name == "" {
			if err := checkName(name); err != nil {
				return nil, formError{err.Error()}
			}
			a.name = name
		}
		if data, err = readAll(part, length); err != nil {
			return nil, broken(err)
		}
	}
}

// broken is an error of a form's reader: of what it reads from, or of the form.
func broken(err error) error {
	if timedOut(err) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return formError{err.Error()}
}

// timedOut reports whether a deadline has passed.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
