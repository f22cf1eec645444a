package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"f2pad.example/engine/imageio"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Buckets opens the buckets of object stores that URLs name, each once. The zero value is ready. What is of no use any more is freed by Close.
type Buckets struct {
	Open func(ctx context.Context, url string) (*blob.Bucket, error) // default OpenBucket

	mu   sync.Mutex
	open map[string]*blob.Bucket // by their URLs
	of   map[string]string       // these, by what the names of their objects begin with
}

// OpenBucket is blob.OpenBucket. It knows the stores whose drivers the program is linked with (gocloud.dev/blob/s3blob and others), which find
// credentials in the environment.
func OpenBucket(ctx context.Context, url string) (*blob.Bucket, error) {
	scheme, _, _ := strings.Cut(url, "://")
	if mux := blob.DefaultURLMux(); !mux.ValidBucketScheme(scheme) {
		return nil, fmt.Errorf("%s:// is none of the stores that this program was built with: %s", scheme, strings.Join(mux.BucketSchemes(), ", "))
	}
	return blob.OpenBucket(ctx, url)
}

var errNoObject = fmt.Errorf("no such object: %w", fs.ErrNotExist)

// Close closes the buckets. Images in them cannot be opened any more.
func (b *Buckets) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, bucket := range b.open {
		errs = append(errs, bucket.Close())
	}
	b.open, b.of = nil, nil
	return errors.Join(errs...)
}

// Exists reports whether there is an object of that name, a URL without parameters, in a bucket that has been opened.
func (b *Buckets) Exists(ctx context.Context, name string) (bool, error) {
	p, err := placeOf(name)
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	if known, ok := b.of[p.base]; ok {
		p.bucket = known
	}
	b.mu.Unlock()
	bucket, err := b.bucket(ctx, p)
	if err != nil {
		return false, err
	}
	ok, err := asked(func() (bool, error) { return bucket.Exists(ctx, p.key) })
	return ok, worded(name, err)
}

func (b *Buckets) bucket(ctx context.Context, p place) (*blob.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bucket, ok := b.open[p.bucket]; ok {
		return bucket, nil
	}
	open := b.Open
	if open == nil {
		open = OpenBucket
	}
	bucket, err := open(ctx, p.bucket)
	if err != nil {
		return nil, worded(p.name(), err)
	}
	if b.open == nil {
		b.open, b.of = map[string]*blob.Bucket{}, map[string]string{}
	}
	b.open[p.bucket], b.of[p.base] = bucket, p.bucket
	return bucket, nil
}

// asked is what a store's driver returns. Drivers take it for granted that an answer has all that those of their own service have, and panic
// where another's, which speaks the same protocol, lacks some of it.
func asked[T any](driver func() (T, error)) (answer T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the store's answer is none that can be read: %v", p)
		}
	}()
	return driver()
}

// attributes asks for what is known of an object.
func attributes(ctx context.Context, b *blob.Bucket, key string) (*blob.Attributes, error) {
	return asked(func() (*blob.Attributes, error) { return b.Attributes(ctx, key) })
}

// place is what a URL names.
type place struct {
	bucket string // the bucket's URL, with parameters
	base   string // what names of its objects begin with, without a slash: s3://bucket
	key    string // of an object, or what keys begin with
}

// name is the URL without parameters, which may be secret, and without a slash at its end.
func (p place) name() string { return strings.TrimSuffix(p.base+"/"+p.key, "/") }

var urlStart = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+://`)

// IsURL reports whether an input is named by a URL.
func IsURL(name string) bool { return urlStart.MatchString(name) }

// placeOf parts a URL: SCHEME://BUCKET/KEY?PARAMETERS, or file:///FOLDER/KEY. Keys are taken as they are.
func placeOf(name string) (place, error) {
	name, parameters, _ := strings.Cut(name, "?")
	scheme, rest, _ := strings.Cut(name, "://")
	scheme = strings.ToLower(scheme)
	if scheme == "file" {
		dir := rest
		if i := strings.IndexAny(dir, "*["); i >= 0 {
			dir = dir[:i]
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			dir = dir[:strings.LastIndexByte(dir, '/')+1]
		}
		if !strings.HasPrefix(dir, "/") {
			return place{}, fmt.Errorf("%s: want file:///FOLDER", name)
		}
		key := strings.TrimPrefix(rest[len(dir):], "/")
		dir = strings.TrimSuffix(dir, "/")
		u := url.URL{Scheme: scheme, Path: dir + "/", RawQuery: parameters}
		return place{u.String(), scheme + "://" + dir, key}, nil
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if bucket == "" {
		return place{}, fmt.Errorf("%s: names no bucket", name)
	}
	p := place{scheme + "://" + bucket, scheme + "://" + bucket, key}
	if parameters != "" {
		p.bucket += "?" + parameters
	}
	return p, nil
}

// worded words an error of a store as "name: reason".
func worded(name string, err error) error {
	if err == nil || gcerrors.Code(err) == gcerrors.Canceled {
		return err
	}
	return fmt.Errorf("%s: %w", name, reason(err))
}

// reason is what a store says is wrong. It has no parameters of a URL, which may be secret.
func reason(err error) error {
	code := gcerrors.Code(err)
	if code == gcerrors.NotFound {
		return errNoObject
	}
	if inner := errors.Unwrap(err); inner != nil && code != gcerrors.Unknown {
		err = inner
	}
	text := secret.ReplaceAllString(err.Error(), "$1")
	if code == gcerrors.PermissionDenied {
		text = "access denied: " + text
	}
	return errors.New(text)
}

var secret = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]+://[^\s"'?]*)\?[^\s"']*`)

// until is a context that ends when a channel is closed.
type until <-chan struct{}

func (until) Deadline() (time.Time, bool) { return time.Time{}, false }
func (u until) Done() <-chan struct{}     { return u }
func (until) Value(any) any               { return nil }
func (u until) Err() error {
	select {
	case <-u:
		return context.Canceled
	default:
		return nil
	}
}

// url emits the object that a URL names or, where folders are welcome, those whose keys match it or are below it.
func (in *inputs) url(arg string, folders bool) error {
	p, err := placeOf(arg)
	if err == nil && in.Buckets == nil {
		err = fmt.Errorf("%s: is a URL, which is not read here", p.name())
	}
	var b *blob.Bucket
	if err == nil {
		b, err = in.Buckets.bucket(until(in.Done), p)
	}
	if err != nil {
		return in.emit(p.name(), named{err})
	}
	if i := strings.IndexAny(p.key, "*["); folders && i >= 0 {
		return in.matching(b, p, i)
	}
	if p.key != "" && !strings.HasSuffix(p.key, "/") {
		attrs, err := attributes(until(in.Done), b, p.key)
		if err == nil {
			return in.object(&object{bucket: b, place: p, listed: infoOf(attrs.Size, attrs.ModTime, attrs.MD5)}, true)
		}
		if !folders || gcerrors.Code(err) != gcerrors.NotFound {
			return in.missing(p.name(), named{worded(p.name(), err)})
		}
		p.key += "/"
	}
	if !folders {
		return in.emit(p.name(), named{fmt.Errorf("%s: is a bucket or a prefix", p.name())})
	}
	return in.below(b, p)
}

// matching emits the objects whose keys match a pattern, the first special character of which is at i.
func (in *inputs) matching(b *blob.Bucket, p place, i int) error {
	if _, err := path.Match(p.key, ""); err != nil {
		return in.emit(p.name(), named{fmt.Errorf("%s: %w", p.name(), err)})
	}
	found := false
	err := in.each(b, place{p.bucket, p.base, p.key[:i]}, func(o *object) error {
		if ok, _ := path.Match(p.key, o.key); !ok {
			return nil
		}
		found = true
		return in.object(o, true)
	})
	if err == nil && !found && !in.Empty {
		err = named{fmt.Errorf("%s: matches nothing", p.name())}
	}
	if err == nil || errors.Is(err, errStop) {
		return err
	}
	return in.emit(p.name(), err)
}

// below emits the images whose keys begin with the place's.
func (in *inputs) below(b *blob.Bucket, p place) error {
	found := false
	err := in.each(b, p, func(o *object) error {
		for _, part := range parts(o.key[len(p.key):]) {
			if strings.HasPrefix(part, ".") {
				return nil
			}
		}
		if !imageio.Supported(o.key) {
			if in.Ignored != nil {
				in.Ignored(o.name())
			}
			return nil
		}
		found = true
		o.prefix = p.name()
		return in.object(o, false)
	})
	switch {
	case errors.Is(err, errStop):
		return err
	case errors.Is(err, fs.ErrNotExist) && p.key == "":
		err = named{fmt.Errorf("%s: no such bucket", p.name())}
	case err == nil && !found && !in.Empty:
		err = named{fmt.Errorf("%s: there is no such object, and no image below it", p.name())}
	case err != nil && !found:
		err = named{err}
	}
	if err == nil {
		return nil
	}
	return in.emit(p.name(), err)
}

// each visits the objects whose keys begin with the place's, in the store's order, until visit returns an error.
func (in *inputs) each(b *blob.Bucket, p place, visit func(o *object) error) error {
	list := b.List(&blob.ListOptions{Prefix: p.key})
	for {
		l, err := asked(func() (*blob.ListObject, error) { return list.Next(until(in.Done)) })
		if err == io.EOF {
			return nil
		}
		if gcerrors.Code(err) == gcerrors.Canceled {
			return errStop
		}
		if err != nil {
			return worded(p.name(), err)
		}
		if l.IsDir || strings.HasSuffix(l.Key, "/") { // a mark that some programs make for a folder
			continue
		}
		o := &object{bucket: b, place: place{p.bucket, p.base, l.Key}, listed: infoOf(l.Size, l.ModTime, l.MD5)}
		if err := visit(o); err != nil {
			return err
		}
	}
}

// object emits an object: an archive's images, where those are welcome, or the image that it is.
func (in *inputs) object(o *object, archives bool) error {
	name := o.name()
	switch {
	case in.Ready != nil && !in.Ready(name, o.listed):
		return in.later(name)
	case archives && kindOf(o.key) != nil:
		return in.archive(name, o)
	case o.listed.size > in.mostBytes():
		return in.missing(name, fmt.Errorf("%s: %w: %d bytes, at most %d are allowed", name, imageio.ErrTooLarge, o.listed.size, in.mostBytes()))
	}
	if o.most = in.mostBytes(); in.Unlisted == nil {
		if !in.passing.take(o.listed.size, o.most, in.Done) {
			return errStop
		}
		o.of = &in.passing
	}
	return in.emitItem(Item{Path: name, Source: o}, nil)
}
