package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"f2pad.example/engine/dataset"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/fileblob"  // file://
	"gocloud.dev/blob/s3blob"
)

// openStore opens a bucket as dataset.OpenBucket does. What S3's client would write to standard error is left out: it is for debugging.
func openStore(ctx context.Context, text string) (*blob.Bucket, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != s3blob.Scheme {
		b, err := dataset.OpenBucket(ctx, text)
		if err != nil && strings.HasPrefix(text, "gs://") && !blob.DefaultURLMux().ValidBucketScheme("gs") {
			err = fmt.Errorf("%w (Google's store also answers as s3://, with ?endpoint=https://storage.googleapis.com and HMAC keys; make build GCS=1 or go install -tags gcs puts gs:// in)", err)
		}
		return b, err
	}
	q := u.Query()
	pathStyle := q.Get("use_path_style") == "true"
	q.Del("use_path_style")
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, err
	}
	cfg.Logger = logging.Nop{}
	return s3blob.OpenBucket(ctx, s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = pathStyle }), u.Host, nil)
}
