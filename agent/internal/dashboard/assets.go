package dashboard

import (
	_ "embed"
	"net/http"
)

//go:embed page/index.html
var indexHTML []byte

//go:embed page/style.css
var styleCSS []byte

//go:embed page/page.js
var pageJS []byte

//go:embed page/icon.svg
var iconSVG []byte

// file is one of the page's.
type file struct {
	kind string // media type
	body []byte
}

var files = map[string]file{
	"/{$}":       {"text/html; charset=utf-8", indexHTML},
	"/style.css": {"text/css; charset=utf-8", styleCSS},
	"/page.js":   {"text/javascript; charset=utf-8", pageJS},
	"/icon.svg":  {"image/svg+xml", iconSVG},
}

func (f file) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	_, _ = w.Write(f.body) // a browser that is gone needs none
}
