package whole

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// CheckOwn refuses a file that somebody else owns, who knows what is in it and may change
// it, and a link: Replace would put a file in the place of the link, and what it points
// to would stay as it was. A file that is not there is fs.ErrNotExist.
func CheckOwn(file string) error {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return fmt.Errorf("check whose file it is: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is a link or no file: name the file itself", file)
	}
	return checkOwner(file, info)
}
