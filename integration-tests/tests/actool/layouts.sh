# What the transcript works on: layouts, manifests and archives, good and bad. Times are fixed where they show.
manifest='{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",
"labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
"app":{"exec":["/bin/app","<&>"],"user":"0","group":"0"}}'
without='{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base"}'

mkdir -p good/rootfs/bin good/rootfs/var/rootfs && echo "$manifest" >good/manifest
echo app >good/rootfs/bin/app && chmod 4755 good/rootfs/bin/app && ln -s app good/rootfs/bin/link
ln good/rootfs/bin/app good/rootfs/var/hard && mkfifo -m 600 good/rootfs/var/fifo && echo junk >good/rootfs/manifest
find good -exec touch --no-dereference --date=2015-03-04T05:06:07Z {} +
mkdir -p base/rootfs && echo "$without" >base/manifest

mkdir no-manifest no-manifest/rootfs no-rootfs extra extra/rootfs extra/foo link file broken broken/rootfs
for dir in no-rootfs extra link file; do echo "$without" >$dir/manifest; done
ln -s ../base/rootfs link/rootfs
echo >file/rootfs
printf '{\n  "acKind": "ImageManifest",\n  "name": }\n' >broken/manifest
mkdir no-version no-version/rootfs && echo '{"acKind":"ImageManifest","name":"example.com/x"}' >no-version/manifest
mkdir -p closed/rootfs && cp base/manifest closed/ && echo secret >closed/rootfs/secret && chmod 000 closed/rootfs/secret
mkdir yaml yaml/rootfs && cat >yaml/manifest.yaml <<'EOF'
acKind: ImageManifest
acVersion: 0.8.11
name: example.com/yaml
app: {exec: [/bin/app], user: "0", group: "0"}
EOF

cp good/manifest image.json && cp yaml/manifest.yaml image.yaml && cp broken/manifest broken.json
cp no-version/manifest no-version.json && echo '{}' >empty.json && echo '{"acKind":"Other"}' >other.json
echo '{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"foo","image":{"id":"sha512-a"}},{"name":"foo","image":{"id":"sha512-a"}}]}' >pod.json
echo '{"acKind":"ImageManifest","name":"example.com/x","name":"example.com/y","acVersion":"0.8.11"}' >twice.json
echo '{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x","app":{"user":"0","group":"0","isolators":[{"name":"foo","value":1}]}}' >isolator.json
printf 'a: [\n' >broken.yaml
printf '\000\001\002' >bytes && printf '\214\015\004\011\003\012\001' >encrypted && echo 'hello' >text
tar cf good.aci -C good manifest rootfs && tar cf base.aci -C base ./manifest ./rootfs
tar cjf good.bz2.aci -C good manifest rootfs && tar cJf good.xz.aci -C good manifest rootfs
tar cf implied.aci -C good manifest rootfs/bin/app && tar cf twice.aci -C good manifest rootfs rootfs/bin/app
tar cf foo.aci -C extra manifest rootfs --no-recursion foo && tar cf no-manifest.aci -C no-manifest rootfs
tar cf no-version.aci -C no-version manifest rootfs && tar cf broken.aci -C broken manifest rootfs
tar cf file.aci -C file manifest rootfs && tar cf only-rootfs.aci -C base rootfs && cp base.aci replaced
