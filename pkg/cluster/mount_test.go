package cluster

import "testing"

func TestParseMount(t *testing.T) {
	for in, want := range map[string]Mount{
		"type=bind,source=/srv/data,target=/data,readonly": {Type: MountBind, Source: "/srv/data", Target: "/data", ReadOnly: true},
		"type=bind,src=/a,dst=/b,ro":                       {Type: MountBind, Source: "/a", Target: "/b", ReadOnly: true},
		"type=bind,src=/a,destination=/b,ro=false":         {Type: MountBind, Source: "/a", Target: "/b"},
		"type=bind,src=/,dst=/host,readonly=true":          {Type: MountBind, Source: "/", Target: "/host", ReadOnly: true},
		"source=data,target=/data":                         {Type: MountVolume, Source: "data", Target: "/data"},
		"TYPE=Volume, source=my_data.1,target=/data":       {Type: MountVolume, Source: "my_data.1", Target: "/data"},
		"type=tmpfs,target=/tmp":                           {Type: MountTmpfs, Target: "/tmp"},
		"type=tmpfs,target=/tmp,tmpfs-size=64m":            {Type: MountTmpfs, Target: "/tmp", SizeBytes: 64 << 20},
		"type=tmpfs,target=/tmp,tmpfs-size=1.5GiB":         {Type: MountTmpfs, Target: "/tmp", SizeBytes: 3 << 29},
		"type=tmpfs,target=/tmp,tmpfs-size=4096":           {Type: MountTmpfs, Target: "/tmp", SizeBytes: 4096},
		`type=bind,"source=/a,b",target=/c=d`:              {Type: MountBind, Source: "/a,b", Target: "/c=d"},
	} {
		if got, err := ParseMount(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseMountRefuses(t *testing.T) {
	for in, words := range map[string]string{
		"":                                                       "not a comma-separated list",
		"/a:/b":                                                  `unknown or unsupported key "/a:/b"`,
		"type=bind":                                              "target is missing",
		"type=bind,target=/b":                                    "must be an absolute path on the node",
		"type=bind,source=a,target=/b":                           "must be an absolute path on the node",
		"type=bind,source=./a,target=/b":                         "must be an absolute path on the node",
		"type=bind,source=/a,target=b":                           `target "b" must be an absolute path`,
		"type=bind,source=/a,target=/":                           "other than /",
		"type=bind,source=/a,target=/x/..":                       "other than /",
		"type=bind,source=/a,target=/b\x00":                      "must be an absolute path",
		"type=bind,source=/a,src=/b":                             "source is given twice",
		"type=bind,source,target=/b":                             "source has no value",
		"type=bind,source=/a,target=/b,ro=x":                     "readonly=x",
		"type=nfs,source=a,target=/b":                            `unknown type "nfs"`,
		"target=/data":                                           "a volume needs a name",
		"source=../etc,target=/data":                             "a volume needs a name",
		"source=..,target=/data":                                 "a volume needs a name",
		"source=/a,target=/data":                                 "a volume needs a name",
		"type=tmpfs,source=a,target=/tmp":                        "a tmpfs has no source",
		"source=a,target=/b,tmpfs-size=1m":                       "a size is for type=tmpfs alone",
		"type=tmpfs,target=/tmp,tmpfs-size=":                     "bad size",
		"type=tmpfs,target=/t,tmpfs-size=-1":                     "bad size",
		"type=tmpfs,target=/t,tmpfs-size=1x":                     "bad size",
		"type=tmpfs,target=/t,tmpfs-size=m1":                     "bad size",
		"type=tmpfs,target=/t,tmpfs-size=9999999999t":            "bad size",
		"type=tmpfs,target=/t,tmpfs-size=1e3":                    "bad size",
		"type=tmpfs,target=/t,tmpfs-size=inf":                    "bad size",
		"type=bind,source=/a,target=/b,bind-propagation=rshared": "unknown or unsupported key",
		"type=bind,source=/a,target=/b\ntype=bind,source=/etc":   "not a comma-separated list",
		`type=bind,"source=/a,target=/b`:                         "not a comma-separated list",
	} {
		_, err := ParseMount(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("type=bind,source=/srv/data,target=/data,readonly")
	f.Add("type=tmpfs,target=/tmp,tmpfs-size=64m")
	f.Add(`"source=a",target=/b`)
	f.Add("tmpfs-size=\xff")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMount(s)
		if err != nil {
			checkError(t, err, "bad mount")
			return
		}
		if err := m.validate(); err != nil {
			t.Errorf("%q gives %+v, which does not hold: %v", s, m, err)
		}
	})
}
