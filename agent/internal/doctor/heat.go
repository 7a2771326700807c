package doctor

import "strconv"

// Heat is the processor's temperature, 0 where the machine does not tell, and whether the firmware slows it down at this
// moment, or its voltage is too low. It reads two small files.
func (m Machine) Heat() (celsius float64, throttled bool) {
	if t, err := strconv.ParseInt(m.value("sys/class/thermal/thermal_zone0/temp"), 10, 64); err == nil {
		celsius = float64(t) / 1000
	}
	const now = 0xffff // flags of what was since boot are above
	flags, known := m.throttled()
	return celsius, known && flags&(underVoltage|slowedDown)&now != 0
}
