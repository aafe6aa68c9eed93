"""Descriptions and synonyms that are not names, each with the labels of the pictures that answer it.

Written for the evaluation; none may be a text of the caption bank, which the evaluation checks.
"""

from __future__ import annotations

_TEXT = """
a pet that barks at strangers: dog face|dog|poodle|guide dog|service dog
canine companion: dog face|dog|poodle|guide dog|service dog
man's best friend: dog face|dog|poodle|guide dog|service dog
a pet that purrs: cat face|cat|black cat|grinning cat
feline that hunts mice: cat face|cat|black cat
the king of the jungle: lion
big striped predator: tiger face|tiger
an animal with a trunk and tusks: elephant
the tallest animal with a long neck: giraffe
an animal with black and white stripes: zebra
a desert animal with humps: camel|two-hump camel
something that hops and has a pouch: kangaroo
bamboo eating bear: panda
a rodent with a long thin tail: mouse face|mouse|rat
long-eared animal that hops: rabbit face|rabbit
farm animal that gives milk: cow face|cow|goat
farm animal that says oink: pig face|pig|boar
an animal that wool comes from: ewe|ram
an animal you ride with a saddle: horse face|horse
sly reddish animal with a bushy tail: fox
an animal with a shell that moves slowly: turtle|snail
bird that cannot fly and lives in the Antarctic: penguin
bird of prey that stands for the United States: eagle
nocturnal bird with large eyes: owl
bird with colourful plumage that can talk: parrot
long-legged pink bird: flamingo
bird that crows in the morning: rooster
a bird floating on a pond and quacking: duck
sea creature with eight arms: octopus
the largest mammal of the ocean: whale|spouting whale
predator fish with sharp teeth: shark
clever sea mammal that jumps: dolphin
crustacean with claws: crab|lobster
insect with colourful wings: butterfly
insect that makes honey: honeybee
eight-legged web maker: spider
red insect with black spots: lady beetle
insect that bites and drinks blood: mosquito
green amphibian that croaks: frog
reptile that slithers without legs: snake
big reptile with a strong jaw: crocodile
extinct giant reptile: sauropod
mythical horse with a horn: unicorn
mythical creature that breathes fire: dragon face|dragon
winged mammal that hangs upside down: bat
spiny little animal: hedgehog
tree dweller that swings and eats bananas: monkey face|monkey|orangutan|gorilla
flying insect: butterfly|honeybee|mosquito|fly|beetle|lady beetle
prickly plant of the desert: cactus
lucky plant with four leaves: four leaf clover
tall yellow flower that follows the sun: sunflower
romantic flower with thorns: rose
Dutch spring flower: tulip
conifer: evergreen tree|Christmas tree
tropical tree on a beach: palm tree|beach with umbrella|desert island
poisonous red cap with white dots: mushroom
curved yellow fruit: banana
fruit that keeps the doctor away: red apple|green apple
sour yellow citrus: lemon
a bunch of small purple berries for wine: grapes
huge green fruit with red flesh and seeds: watermelon
tropical fruit with a spiky crown: pineapple
small red fruit pair with stems: cherries
green fruit used for guacamole: avocado
orange root that rabbits like: carrot
yellow cob: ear of corn
purple vegetable: eggplant
vegetable that makes you cry when cut: onion
white bulb against vampires: garlic
spicy red pod: hot pepper
long French loaf: baguette bread
Italian dish with melted cheese and toppings: pizza
beef patty in a bun: hamburger
fried potato sticks: french fries
sausage in a bun: hot dog
folded Mexican tortilla: taco|burrito
breakfast from the hen: egg|cooking
Japanese raw fish on rice: sushi
noodles in broth: steaming bowl
round fried dough with a hole: doughnut
cold treat in a cone: soft ice cream|ice cream|shaved ice
sweet brown bar: chocolate bar
dessert with candles: birthday cake
movie theatre snack: popcorn
sweet made by bees: honey pot|honeybee
hot drink with caffeine in the morning: hot beverage|teacup without handle|teapot
alcoholic drink with foam: beer mug|clinking beer mugs
drink made of grapes: wine glass
bottle for a celebration with a popping cork: bottle with popping cork|clinking glasses
white drink for calves and babies: glass of milk|baby bottle
things you eat with: fork and knife|fork and knife with plate|spoon
sharp kitchen tool for cutting: kitchen knife
something you drive on the road: automobile|oncoming automobile|sport utility vehicle|taxi|racing car|\
pickup truck|delivery truck
yellow cab: taxi|oncoming taxi
vehicle that brings sick people to hospital: ambulance
vehicle with ladder that puts out fires: fire engine
big vehicle that takes children to class: bus|oncoming bus|trolleybus|minibus
two-wheeled vehicle with pedals: bicycle
vehicle for two wheels with an engine: motorcycle|motor scooter
farm machine that pulls a plough: tractor
a thing that runs on rails: locomotive|railway car|train|high-speed train|bullet train|tram|tram car|metro|\
light rail|monorail|mountain railway|station
something that flies in the sky with passengers: airplane|small airplane|airplane departure|\
airplane arrival|helicopter
aircraft with a rotor: helicopter
vessel that carries astronauts: rocket
boat with a sheet to catch the wind: sailboat
large passenger vessel on the ocean: passenger ship|ship|ferry
heavy thing that keeps a ship in place: anchor
place where planes land: airplane arrival|airplane departure|airplane
place where you fill the tank: fuel pump
red octagonal traffic sign: stop sign
where people live: house|house with garden|houses|derelict house|hut
where doctors treat patients: hospital
where children learn: school
where cash is kept: bank|ATM sign
medieval fortress: castle|Japanese castle
place where Christians pray: church
place where Muslims pray: mosque
shelter for camping: tent|camping
mountain that erupts lava: volcano
statue in New York harbour: Statue of Liberty
our home planet: globe showing Europe-Africa|globe showing Americas|globe showing Asia-Australia
a thing that tells the time: watch|alarm clock|mantelpiece clock|timer clock|one o'clock|three o'clock|\
stopwatch
a thing that wakes you up in the morning: alarm clock
sand running through a glass: hourglass done|hourglass not done
our star in the sky: sun|sun with face
lunar sickle at night: crescent moon|last quarter moon|first quarter moon|last quarter moon face|\
first quarter moon face
coloured arc after rain: rainbow
protection against rain: umbrella|umbrella with rain drops|closed umbrella
a figure built in winter: snowman|snowman without snow
frozen crystal: snowflake|ice
flash from a storm cloud: high voltage|cloud with lightning|cloud with lightning and rain
whirling storm: tornado|cyclone
hot burning flames: fire
a drop of liquid: droplet
carved pumpkin in October: jack-o-lantern
decorated tree in December: Christmas tree
box with a ribbon for a birthday: wrapped gift
party decoration filled with air: balloon
colourful rockets in the night sky on New Year: fireworks|sparkler
cup for the winner: trophy
prize for first place: 1st place medal|sports medal|trophy
ball that you kick: soccer ball
orange ball for dunking: basketball
yellow fuzzy ball with a racket: tennis
pins and a heavy ball: bowling
gloves for fighting in the ring: boxing glove
board with wheels: skateboard
planks for sliding down snow: skis|skier
shoe with a blade for gliding: ice skate
rod for catching animals in the water: fishing pole
arrow and concentric rings to aim at: bullseye
controller for playing on a console: video game|joystick
cube with dots to throw: game die
small interlocking piece of a picture game: puzzle piece
stuffed toy: teddy bear
artist's paint board: artist palette
spools for sewing: thread
eyewear for reading: glasses
eyewear against bright light: sunglasses
cloth worn around the neck of a businessman: necktie
denim trousers: jeans
clothing for a woman with a skirt: dress
clothes for swimming: bikini|one-piece swimsuit
warm knitted thing around the neck: scarf
things that keep fingers warm: gloves
footwear with a high heel: high-heeled shoe|woman's sandal
footwear for running: running shoe
footwear for hiking: hiking boot
bag that pupils wear on their back: backpack
headgear of a monarch: crown
tall black headgear of a magician: top hat
headgear of a graduate: graduation cap
precious stone ring for engagement: ring
sparkling jewel: gem stone
cosmetic for coloured mouths: lipstick
instrument with black and white keys: musical keyboard
instrument with six strings: guitar
instrument played with a bow: violin
brass instrument: trumpet
instrument that you beat with sticks: drum|long drum
device for listening to songs on your ears: headphone
device you sing into: microphone|studio microphone
device for calling somebody: mobile phone|telephone|telephone receiver
portable computer: laptop
part of the computer for typing: keyboard
part of the computer for clicking: computer mouse
device that prints on paper: printer
round shiny data storage: optical disk|dvd|computer disk
device for taking photos: camera|camera with flash
device for watching shows at home: television
something that lights up when it gets dark: light bulb|flashlight|candle|diya lamp|red paper lantern
wax light with a wick: candle
tool for looking at tiny things in a laboratory: microscope
tool for looking at stars: telescope
enlarging lens: magnifying glass tilted left|magnifying glass tilted right
reading material: books|open book|newspaper|closed book|blue book|green book|orange book|\
rolled-up newspaper|notebook
daily printed news: newspaper|rolled-up newspaper
American banknote: dollar banknote|money bag|money with wings
plastic for paying: credit card
letter in the post: envelope|incoming envelope|e-mail|love letter
box delivered by the postman: package
yellow writing instrument with graphite: pencil
tool for cutting paper with two blades: scissors
small bent wire for holding sheets: paperclip|linked paperclips
pin on a map: round pushpin|pushpin
bin for rubbish: wastebasket
it opens a door: key|old key
closed for security with a shackle: locked|locked with key|locked with pen
tool for driving nails: hammer|hammer and pick|hammer and wrench
tool for turning bolts: wrench|nut and bolt
tool for felling trees: axe|carpentry saw
tool for cutting planks with teeth: carpentry saw
exploding device with a fuse: bomb|firecracker
medieval weapon of a knight: dagger|crossed swords|shield
bow for shooting: bow and arrow
horseshoe shaped thing attracting iron: magnet
steps for climbing up to a roof: ladder
double helix of genes: dna
medicine to swallow: pill
needle for an injection: syringe
doctor's tool for listening to the heart: stethoscope
strip for a small wound: adhesive bandage
furniture for sleeping: bed|person in bed
furniture for two or more to sit in the living room: couch and lamp
furniture with one seat: chair|seat
place to sit in the bathroom: toilet
tub for washing oneself: bathtub|person taking bath
thing for sweeping the floor: broom
paper on a roll for the bathroom: roll of paper
bar for washing hands: soap
tool for cleaning teeth: toothbrush
basket for purchases: shopping cart|shopping bags
ancestor's burial marker: headstone
box for the dead: coffin
object that predicts the future: crystal ball
symbol of affection: red heart|two hearts|heart with arrow|sparkling heart|growing heart|beating heart
relationship that is over: broken heart
skeleton head: skull|skull and crossbones
spooky white spirit in a sheet: ghost
visitor from outer space: alien|alien monster|flying saucer
mechanical humanoid: robot
red devilish face: smiling face with horns|angry face with horns|ogre
excrement with a smile: pile of poo
organ for seeing: eye|eyes
organ for smelling: nose
organ for hearing: ear|ear with hearing aid
organ for thinking: brain
chewing part of the mouth: tooth
organ that pumps blood: anatomical heart
pedal extremity: foot|leg
approval gesture: thumbs up|OK hand|OK button
disapproval gesture: thumbs down
two fingers sign of peace: victory hand
hands that applaud a performance: clapping hands
agreement between two partners: handshake
strong arm muscle: flexed biceps|mechanical arm
somebody wiping tears of sorrow: crying face|loudly crying face
furious person's expression: enraged face|angry face|face with symbols on mouth
very happy expression with tears: face with tears of joy|rolling on the floor laughing
someone asleep: sleeping face|sleepy face|person in bed
ill with a fever: face with thermometer
expression with shades, very relaxed: smiling face with sunglasses
spectacled smart expression: nerd face
man who brings presents at Christmas: Santa Claus
bearded old sorcerer: mage|man mage
undead bloodsucker: vampire|man vampire|woman vampire
half woman, half fish: mermaid|merperson|merman
law enforcement officer: police officer|man police officer|woman police officer|guard
somebody who puts out fires: firefighter|man firefighter|woman firefighter
person who prepares meals in a restaurant: cook|man cook|woman cook
person who travels to the moon: astronaut|man astronaut|woman astronaut
newborn human: baby|baby angel
woman in a white wedding gown: woman with veil|person with veil
checkered sign at the end of a race: chequered flag
flag of pirates: pirate flag
sign for danger: warning|biohazard|radioactive
sign for nuclear rays: radioactive
reuse symbol with green loops: recycling symbol
people are not allowed to light up here: no smoking
"""


def _parse(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    pairs = [line.rpartition(": ") for line in text.strip().splitlines()]
    return tuple((query, frozenset(labels.split("|"))) for query, _, labels in pairs)


QUESTIONS = _parse(_TEXT)
"""(description, labels of concepts that it is true of)."""
