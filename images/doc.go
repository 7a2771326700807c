// Package images holds what an SD card's image is made of, and tests of it: build.sh builds, boards/ says for which Pi out of
// which packages, root/ has the files that are put over Debian's, piswarm.toml is the settings file of the boot partition.
// A finished image is tried by package trial.
package images
