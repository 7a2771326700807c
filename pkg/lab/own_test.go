package lab

func ownLab(dir string) {}
