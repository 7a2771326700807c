package cli

import (
	"crypto/rand"
	"path"
	"strings"

	"github.com/distribution/reference"
)

// randomName names a service that the user gave no name: what the image is called, so that lists stay readable, and a
// few random characters, so that two of them are two.
func randomName(image reference.Named) string {
	const longest = 40
	base := path.Base(reference.Path(image))
	base = strings.ReplaceAll(base, ".", "-")
	base = strings.Trim(base[:min(len(base), longest)], "-_")
	suffix := strings.ToLower(rand.Text()[:5])
	return base + "-" + suffix
}
